/* test_options.c - what a client asks for when it connects */
#include <criterion/criterion.h>
#include <string.h>

#include "cxe.h"
#include "limits.h"
#include "server.h"

/* Reads a page; returns how many frames brought it, and how long frames may be. */
static uint64_t frames_of_a_page(struct server *server, uint32_t frame_bytes, uint32_t *granted_out)
{
    const struct cxe_connect_options options = {.server = server->address,
                                                .server_key = server->key_text,
                                                .timeout_ns = 20 * NS_PER_S,
                                                .frame_bytes = frame_bytes};
    struct cxe_connection_info before, after;
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t written[CXE_PAGE_BYTES], page[CXE_PAGE_BYTES];

    memset(written, 0xA5, sizeof(written));
    cr_assert_eq(cxe_connect(&options, &connection), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_region_create(connection, "frames", CXE_PAGE_BYTES, 0, &region), 0);
    cr_assert_eq(cxe_write(region, 0, written, sizeof(written)), 0);
    cr_assert_eq(cxe_connection_info(connection, &before), 0);
    cr_assert_eq(cxe_read(region, 0, page, sizeof(page)), 0);
    cr_assert_eq(cxe_connection_info(connection, &after), 0);
    cr_assert_arr_eq(page, written, sizeof(page));
    cxe_region_close(region);
    cxe_region_delete(connection, "frames");
    cxe_disconnect(connection);
    *granted_out = after.frame_bytes;
    return after.received_frames - before.received_frames;
}

Test(options, frames_are_no_longer_than_asked_for)
{
    struct server server = {0};
    uint32_t granted;

    server_start(&server);
    cr_expect_geq(frames_of_a_page(&server, CXE_FRAME_BYTES_MIN, &granted), 4);
    cr_expect_eq(granted, CXE_FRAME_BYTES_MIN);
    cr_expect_geq(frames_of_a_page(&server, FRAME_BYTES_1500, &granted), 3);
    cr_expect_eq(granted, FRAME_BYTES_1500);
    frames_of_a_page(&server, 0, &granted);
    cr_expect_gt(granted, PAGE_BYTES, "loopback carries pages in one frame");
    server_stop(&server);
}

Test(options, frame_lengths_out_of_range_are_refused)
{
    struct server server = {0};
    struct cxe_connect_options options = {.server = server.address, .server_key = server.key_text};
    struct cxe_connection *connection;

    server_start(&server);
    options.frame_bytes = CXE_FRAME_BYTES_MIN - 1;
    cr_expect_eq(cxe_connect(&options, &connection), -EINVAL);
    cr_expect(strstr(cxe_last_error(), "1231"), "%s", cxe_last_error());
    options.frame_bytes = CXE_FRAME_BYTES_MAX + 1;
    cr_expect_eq(cxe_connect(&options, &connection), -EINVAL);
    server_stop(&server);
}
