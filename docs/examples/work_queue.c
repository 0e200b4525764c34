/* work_queue.c - one client hands out work, others take it: work_queue make | put TEXT | take */
#include <cxe.h>
#include <cxe_sync.h>
#include <stdio.h>
#include <string.h>

#define ITEM_BYTES 40
#define ITEMS      16
#define DONE       0              /* offset of a counter: how much is done */
#define WORK       CXE_PAGE_BYTES /* offset of a channel: what is to be done */

static int make(struct cxe_connection *pool, struct cxe_region **region_out)
{
    int error = cxe_region_create(pool, "work", 4 * CXE_PAGE_BYTES, 0, region_out);

    if (!error)
        error = cxe_counter_init(*region_out, DONE, 0);
    return error ? error : cxe_channel_init(*region_out, WORK, ITEM_BYTES, ITEMS);
}

static int put(struct cxe_channel *work, const char *text)
{
    char item[ITEM_BYTES] = {0};

    strncpy(item, text, sizeof(item) - 1);
    return cxe_channel_push(work, item, UINT64_MAX);
}

static int take(struct cxe_channel *work, struct cxe_region *region)
{
    char item[ITEM_BYTES];
    uint64_t done;
    int error = cxe_channel_pop(work, item, UINT64_MAX);

    if (error)
        return error;
    error = cxe_counter_add(region, DONE, 1, &done);
    if (!error)
        printf("%s (%lu done)\n", item, (unsigned long)done);
    return error;
}

int main(int argc, char **argv)
{
    struct cxe_connection *pool;
    struct cxe_region *region;
    struct cxe_channel *work;
    int error = cxe_connect(NULL, &pool);

    if (!error)
        error = argc == 2 && strcmp(argv[1], "make") == 0 ? make(pool, &region)
                                                          : cxe_region_open(pool, "work", &region);
    if (!error)
        error = cxe_channel_open(region, WORK, &work);
    if (!error && argc == 3 && strcmp(argv[1], "put") == 0)
        error = put(work, argv[2]);
    else if (!error && argc == 2 && strcmp(argv[1], "take") == 0)
        error = take(work, region);
    if (error)
        fprintf(stderr, "work_queue: %s\n", cxe_last_error());
    return error != 0; /* the end of the process closes what is open */
}
