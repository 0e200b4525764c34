/* ofi_library.c - see ofi_library.h
 *
 * Why not simply link: Debian's libfabric draws in libinfinipath, whose constructor takes SIGBUS, SIGSEGV,
 * SIGILL, SIGABRT, SIGINT and SIGTERM for itself. A program that only wants UDP must not get that, least of
 * all a mapped client that handles page faults in SIGBUS. So it is loaded late, and the handlers are put
 * back.
 */
#include "ofi_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define LIBRARY "libfabric.so.1"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ofi_library library;
static bool usable;

/* The versions of the functions that agree with the headers of 1.17. */
static const struct {
    size_t offset;
    const char *name, *version;
} symbols[] = {
    {offsetof(struct ofi_library, getinfo), "fi_getinfo", "FABRIC_1.3"},
    {offsetof(struct ofi_library, freeinfo), "fi_freeinfo", "FABRIC_1.3"},
    {offsetof(struct ofi_library, dupinfo), "fi_dupinfo", "FABRIC_1.3"},
    {offsetof(struct ofi_library, fabric), "fi_fabric", "FABRIC_1.1"},
};

static bool find_symbols(void *handle)
{
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *function = dlvsym(handle, symbols[i].name, symbols[i].version);

        if (!function) {
            log_error("ofi: %s has no %s of %s", LIBRARY, symbols[i].name, symbols[i].version);
            return false;
        }
        memcpy((char *)&library + symbols[i].offset, &function, sizeof(function));
    }
    return true;
}

static void load(void)
{
    struct sigaction before[_NSIG];
    struct fi_info *providers;
    void *handle;

    for (int number = 1; number < _NSIG; number++)
        sigaction(number, NULL, &before[number]);
    handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        log_error("ofi: %s cannot be loaded: %s (Debian package libfabric1)", LIBRARY, dlerror());
    else if (find_symbols(handle)) {
        usable = true;
        /* The first question starts all providers: let that, too, happen before the handlers are put back. */
        if (library.getinfo(FI_VERSION(1, 17), NULL, NULL, FI_PROV_ATTR_ONLY, NULL, &providers) == 0)
            library.freeinfo(providers);
    }
    for (int number = 1; number < _NSIG; number++)
        sigaction(number, &before[number], NULL); /* some refuse, as they refused to change */
}

const struct ofi_library *ofi_library(void)
{
    pthread_once(&once, load);
    return usable ? &library : NULL;
}
