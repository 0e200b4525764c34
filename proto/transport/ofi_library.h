/* ofi_library.h - libfabric, loaded when somebody asks for it */
#ifndef CXE_TRANSPORT_OFI_LIBRARY_H
#define CXE_TRANSPORT_OFI_LIBRARY_H

#include <rdma/fabric.h>

/* The four functions that are not inline calls through objects. */
struct ofi_library {
    int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags,
                   const struct fi_info *hints, struct fi_info **info_out);
    void (*freeinfo)(struct fi_info *info);
    struct fi_info *(*dupinfo)(const struct fi_info *info); /* of NULL: an empty one */
    int (*fabric)(struct fi_fabric_attr *attributes, struct fid_fabric **fabric_out, void *context);
};

/* NULL: not installed, or too old. Any thread; blocks the first time. */
const struct ofi_library *ofi_library(void);

#endif
