/* cmd_read.c - cxe read: bytes of a region, to a file or standard output */
#include "transfer.h"

#include <stdlib.h>
#include <string.h>

#include "output_file.h"

enum { KEY_OFFSET = CLI_KEY_OWN, KEY_LENGTH };

struct read_options {
    uint64_t offset;
    uint64_t bytes; /* UINT64_MAX: to the end */
    const char *path;
};

static const struct argp_option options[] = {
    {"offset", KEY_OFFSET, "OFFSET", 0, "Where to begin, such as 100, 64K or 0x1000 (default: 0)", 0},
    {"length", KEY_LENGTH, "BYTES", 0, "How many bytes (default: up to the region's end)", 0},
    {"output", 'o', "FILE", 0, "Where to (default: -, standard output)", 0},
    {0},
};

static error_t take_option(int key, const char *value, void *into)
{
    struct read_options *read = into;

    switch (key) {
    case KEY_OFFSET:
        read->offset = cli_offset("--offset", value);
        return 0;
    case KEY_LENGTH:
        read->bytes = cli_offset("--length", value);
        return 0;
    case 'o':
        read->path = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A ring of buffers: reads end in any order, and leave in the order of their offsets. */
struct chunk {
    uint64_t offset; /* whole lines around what is wanted */
    size_t bytes;
    bool done;
    int result;
    uint8_t *buffer;
};

struct reader {
    struct cxe_queue *queue;
    struct cxe_region *region;
    uint64_t at, end;          /* what is wanted and not started */
    uint64_t started, written; /* chunks; chunk n is in chunks[n % TRANSFER_DEPTH] */
    uint64_t skip_bytes;       /* of the next chunk to be written: before what is wanted */
    uint64_t left_bytes;       /* to be written */
    struct chunk chunks[TRANSFER_DEPTH];
};

static void chunk_done(const struct cxe_completion *completion, void *into)
{
    struct chunk *chunk = completion->context;

    (void)into;
    chunk->done = true;
    chunk->result = completion->result;
}

/* Starts what there is room for. 0 or negative errno. */
static int start_chunks(struct reader *reader)
{
    while (reader->at < reader->end && reader->started - reader->written < TRANSFER_DEPTH) {
        struct chunk *chunk = &reader->chunks[reader->started % TRANSFER_DEPTH];
        int error;

        chunk->offset = reader->at - reader->at % CXE_LINE_BYTES;
        chunk->bytes = TRANSFER_BYTES - chunk->offset % TRANSFER_BYTES;
        if (chunk->bytes > reader->end - chunk->offset)
            chunk->bytes =
                (reader->end - chunk->offset + CXE_LINE_BYTES - 1) & ~(uint64_t)(CXE_LINE_BYTES - 1);
        chunk->done = false;
        error =
            cxe_queue_read(reader->queue, reader->region, chunk->offset, chunk->buffer, chunk->bytes, chunk);
        if (error == -EAGAIN)
            return 0;
        if (error)
            return error;
        reader->at = chunk->offset + chunk->bytes;
        reader->started++;
    }
    return 0;
}

static int write_chunk(struct reader *reader, const struct chunk *chunk, struct output_file *file)
{
    uint64_t bytes = chunk->bytes - reader->skip_bytes;
    int error;

    if (bytes > reader->left_bytes)
        bytes = reader->left_bytes;
    error = output_file_write(file, chunk->buffer + reader->skip_bytes, bytes);
    reader->skip_bytes = 0;
    reader->left_bytes -= bytes;
    return error;
}

/* Returns an exit status. */
static int copy_out(struct reader *reader, const char *name, struct output_file *file)
{
    while (reader->left_bytes > 0) {
        struct chunk *chunk = &reader->chunks[reader->written % TRANSFER_DEPTH];
        int error = start_chunks(reader);

        while (!error && !chunk->done)
            error = transfer_wait(reader->queue, chunk_done, NULL);
        if (error)
            return cli_fail(error, "region '%s'", name);
        if (chunk->result)
            return cli_fail_outcome(chunk->result, "region '%s', offset %ju", name, (uintmax_t)chunk->offset);
        error = write_chunk(reader, chunk, file);
        if (error)
            return cli_fail_system(error, "%s", file->path);
        reader->written++;
    }
    return CLI_OK;
}

static int read_region(struct cxe_connection *connection, struct cxe_region *region, const char *name,
                       const struct read_options *options_in, uint64_t bytes)
{
    struct reader reader = {.region = region,
                            .at = options_in->offset,
                            .end = options_in->offset + bytes,
                            .skip_bytes = options_in->offset % CXE_LINE_BYTES,
                            .left_bytes = bytes};
    uint8_t *buffers = malloc((size_t)TRANSFER_DEPTH * TRANSFER_BYTES);
    struct output_file file;
    int error, status;

    if (!buffers)
        return cli_fail_system(-ENOMEM, "buffers");
    for (size_t i = 0; i < TRANSFER_DEPTH; i++)
        reader.chunks[i].buffer = buffers + i * TRANSFER_BYTES;
    error = cxe_queue_open(connection, TRANSFER_DEPTH, &reader.queue);
    if (error) {
        status = cli_fail(error, "queue");
        goto free_buffers;
    }
    error = output_file_open(&file, options_in->path);
    if (error) {
        status = cli_fail_system(error, "--output: %s", options_in->path);
        goto close_queue;
    }
    status = copy_out(&reader, name, &file);
    error = output_file_close(&file, status == CLI_OK);
    if (error && status == CLI_OK)
        status = cli_fail_system(error, "%s", options_in->path);
close_queue:
    cxe_queue_close(reader.queue); /* before the buffers go: reads may still be in flight */
free_buffers:
    free(buffers);
    return status;
}

int cmd_read(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "REGION",
        .doc = "Copies bytes out of a region.\vA file is replaced only when all of it has been read. With "
               "--json, "
               "--output must name a file.",
        .options = options,
        .option = take_option,
    };
    struct read_options read = {.bytes = UINT64_MAX, .path = "-"};
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments;
    uint64_t bytes;
    int status;

    cli_parse(&syntax, argc, argv, &read, &arguments);
    if (cli_json() && strcmp(read.path, "-") == 0)
        cli_usage("--json: standard output is for the data; name a file with --output");
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    status = transfer_range(region, arguments[0], read.offset, read.bytes, &bytes);
    if (status == CLI_OK)
        status = read_region(connection, region, arguments[0], &read, bytes);
    cli_close(connection, region);
    if (status == CLI_OK && cli_json())
        status = cli_print_json(json_pack("{s:s, s:o, s:o, s:s}", "region", arguments[0], "offset",
                                          cli_json_u64(read.offset), "bytes", cli_json_u64(bytes), "file",
                                          read.path));
    return status;
}
