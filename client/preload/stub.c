/* stub.c - see stub.h */
#include "stub.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "atomic.h"

#if !defined(__x86_64__)
#error "cxe run knows the system calls of x86-64 only"
#endif

typedef long stub_function(long number, long a, long b, long c, long d, long e, long f);

/* The System V calling convention, moved to the kernel's: number in rax, the fourth argument in r10. The code
 * is copied to STUB_ADDRESS, so it refers to nothing by address. */
__asm__(".pushsection .text\n"
        ".type stub_code, @function\n"
        "stub_code:\n"
        "  endbr64\n"
        "  mov %rdi, %rax\n"
        "  mov %rsi, %rdi\n"
        "  mov %rdx, %rsi\n"
        "  mov %rcx, %rdx\n"
        "  mov %r8, %r10\n"
        "  mov %r9, %r8\n"
        "  mov 8(%rsp), %r9\n"
        "  syscall\n"
        "  ret\n"
        "stub_code_end:\n"
        ".size stub_code, . - stub_code\n"
        ".popsection\n");
extern const char stub_code[] __attribute__((visibility("hidden")));
extern const char stub_code_end[] __attribute__((visibility("hidden")));

static stub_function *stub = (stub_function *)(uintptr_t)stub_code;

long stub_call(long number, long a, long b, long c, long d, long e, long f)
{
    return load_relaxed(&stub)(number, a, b, c, d, e, f);
}

int stub_install(void)
{
    void *page = (void *)STUB_ADDRESS;
    long result = stub_call6(SYS_mmap, page, PAGE_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (result != (long)page)
        return result < 0 ? (int)result : -EEXIST;
    memcpy(page, stub_code, (size_t)(stub_code_end - stub_code));
    result = stub_call3(SYS_mprotect, page, PAGE_BYTES, PROT_READ | PROT_EXEC);
    if (result < 0) {
        stub_call2(SYS_munmap, page, PAGE_BYTES);
        return (int)result;
    }
    store_relaxed(&stub, (stub_function *)(uintptr_t)page);
    return 0;
}
