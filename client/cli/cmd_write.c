/* cmd_write.c - cxe write: bytes of a file or standard input, into a region at any offset */
#include "transfer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_OFFSET = CLI_KEY_OWN };

static const struct argp_option options[] = {
    {"offset", KEY_OFFSET, "OFFSET", 0, "Where to begin, such as 100, 64K or 0x1000 (default: 0)", 0},
    {0},
};

static error_t take_option(int key, const char *value, void *into)
{
    uint64_t *offset = into;

    if (key != KEY_OFFSET)
        return ARGP_ERR_UNKNOWN;
    *offset = cli_offset("--offset", value);
    return 0;
}

struct writer {
    struct cxe_queue *queue;
    struct cxe_region *region;
    uint64_t at; /* offset of the next byte */
    unsigned in_flight;
    uint64_t written_bytes;
    int result; /* the first failure */
};

static void piece_done(const struct cxe_completion *completion, void *into)
{
    struct writer *writer = into;

    writer->in_flight--;
    if (completion->result == 0)
        writer->written_bytes += (uintptr_t)completion->context;
    else if (writer->result == 0)
        writer->result = completion->result;
}

/* A stretch that one operation writes: whole lines, or bytes of one. */
struct piece {
    size_t bytes;
    uint64_t byte_mask; /* 0: whole lines */
};

static struct piece first_piece(uint64_t offset, size_t bytes)
{
    const unsigned before = (unsigned)(offset % CXE_LINE_BYTES);
    struct piece piece = {.bytes = bytes - bytes % CXE_LINE_BYTES};

    if (before == 0 && piece.bytes > 0)
        return piece;
    piece.bytes = CXE_LINE_BYTES - before;
    if (piece.bytes > bytes)
        piece.bytes = bytes;
    piece.byte_mask = (UINT64_MAX >> (CXE_LINE_BYTES - piece.bytes)) << before;
    return piece;
}

static int start_piece(struct writer *writer, const struct piece *piece, const uint8_t *data)
{
    void *context = (void *)(uintptr_t)piece->bytes;
    uint8_t line[CXE_LINE_BYTES] = {0};
    uint64_t before = writer->at % CXE_LINE_BYTES;

    if (piece->byte_mask == 0)
        return cxe_queue_write(writer->queue, writer->region, writer->at, data, piece->bytes, context);
    memcpy(line + before, data, piece->bytes);
    return cxe_queue_write_masked(writer->queue, writer->region, writer->at - before, line, piece->byte_mask,
                                  context);
}

/* Starts writing all of `data`; waits where there is no room. 0 or negative errno. */
static int write_data(struct writer *writer, const uint8_t *data, size_t bytes)
{
    while (bytes > 0 && writer->result == 0) {
        struct piece piece = first_piece(writer->at, bytes);
        int error = start_piece(writer, &piece, data);

        if (error == -EAGAIN && writer->in_flight > 0)
            error = transfer_wait(writer->queue, piece_done, writer);
        else if (!error) {
            writer->in_flight++;
            writer->at += piece.bytes;
            data += piece.bytes;
            bytes -= piece.bytes;
        }
        if (error)
            return error;
    }
    return writer->result;
}

/* Reads until the buffer is full or the input ends; so all but the first and the last write are whole lines.
 */
static ssize_t fill(int fd, uint8_t *buffer, size_t bytes)
{
    size_t filled = 0;

    while (filled < bytes) {
        ssize_t count = read(fd, buffer + filled, bytes - filled);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        filled += (size_t)count;
    }
    return (ssize_t)filled;
}

static int drain(struct writer *writer)
{
    int error = 0;

    while (!error && writer->in_flight > 0)
        error = transfer_wait(writer->queue, piece_done, writer);
    return error ? error : writer->result;
}

/* A failure in the middle says how far it got. Returns an exit status. */
static int fail_part_way(const struct writer *writer, int error, const char *name)
{
    if (writer->written_bytes == 0 && writer->in_flight == 0)
        return cli_fail_outcome(error, "region '%s': nothing was written", name);
    return cli_fail_outcome(error, "region '%s': %ju bytes were written%s", name,
                            (uintmax_t)writer->written_bytes, writer->in_flight ? ", perhaps more" : "");
}

static int copy_in(struct writer *writer, int fd, const char *input, const char *name)
{
    static uint8_t buffer[TRANSFER_BYTES];
    const uint64_t end = cxe_region_bytes(writer->region);

    for (;;) {
        ssize_t count = fill(fd, buffer, TRANSFER_BYTES - writer->at % TRANSFER_BYTES);
        int error = count < 0 ? (int)count : 0;

        if (error || count == 0) {
            int drained = drain(writer);

            if (error)
                return cli_fail_system(error, "FILE: '%s', after %ju bytes were written", input,
                                       (uintmax_t)writer->written_bytes);
            return drained ? fail_part_way(writer, drained, name) : CLI_OK;
        }
        if ((uint64_t)count > end - writer->at)
            error = -ERANGE;
        else
            error = write_data(writer, buffer, (size_t)count);
        if (error) {
            drain(writer);
            return fail_part_way(writer, error, name);
        }
    }
}

/* A file that cannot fit is refused before any of it is written; of a pipe nobody knows. */
static int check_size(int fd, const struct cxe_region *region, const char *name, uint64_t offset)
{
    struct stat status;
    uint64_t bytes = 0;
    off_t position;

    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        position = lseek(fd, 0, SEEK_CUR);
        if (position >= 0 && position < status.st_size)
            bytes = (uint64_t)(status.st_size - position);
    }
    return transfer_range(region, name, offset, bytes, &bytes);
}

static int write_region(struct cxe_connection *connection, struct cxe_region *region, const char *name,
                        int fd, const char *input, uint64_t offset, uint64_t *written_out)
{
    struct writer writer = {.region = region, .at = offset};
    int error, status = check_size(fd, region, name, offset);

    if (status)
        return status;
    error = cxe_queue_open(connection, TRANSFER_DEPTH, &writer.queue);
    if (error)
        return cli_fail(error, "queue");
    status = copy_in(&writer, fd, input, name);
    cxe_queue_close(writer.queue);
    *written_out = writer.written_bytes;
    return status;
}

int cmd_write(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "REGION [FILE]",
        .doc =
            "Copies a file, or standard input (FILE is missing or -), into a region.\vAny offset and length "
            "will do: "
            "of a line that is not covered whole, the other bytes stay as they are. A file that does not fit "
            "is "
            "refused; of a longer input on a pipe, what fits may have been written when the command fails.",
        .options = options,
        .option = take_option,
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments;
    const char *input = "-";
    uint64_t offset = 0, written_bytes = 0;
    int fd = STDIN_FILENO, status;

    if (cli_parse(&syntax, argc, argv, &offset, &arguments) == 2)
        input = arguments[1];
    if (strcmp(input, "-") != 0)
        fd = open(input, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail_system(-errno, "FILE: '%s'", input);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    status = write_region(connection, region, arguments[0], fd, input, offset, &written_bytes);
    cli_close(connection, region);
    if (status == CLI_OK && cli_json())
        status = cli_print_json(json_pack("{s:s, s:o, s:o}", "region", arguments[0], "offset",
                                          cli_json_u64(offset), "bytes", cli_json_u64(written_bytes)));
    return status;
}
