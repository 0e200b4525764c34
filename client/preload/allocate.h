/* allocate.h - malloc and its kin: the program's allocator for the program, our heap for the library
 *
 * Between library_enter and library_leave, a thread allocates from the heap. They nest.
 */
#ifndef CXE_PRELOAD_ALLOCATE_H
#define CXE_PRELOAD_ALLOCATE_H

void library_enter(void);
void library_leave(void);

#endif
