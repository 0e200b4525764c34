/* main.c - cxe: one tool with subcommands; this is the list of them */
#include "cli.h"

static const struct cli_command commands[] = {
    {"region", cmd_region, "create, list, look at, grow, seal, copy and delete regions"},
    {"read", cmd_read, "copy bytes out of a region"},
    {"write", cmd_write, "copy bytes into a region"},
    {"cas", cmd_cas, "compare and swap one word"},
    {"fetch", cmd_fetch, "change one word, print what it was"},
    {"run", cmd_run, "run a program with its memory on the pool"},
    {"status", cmd_status, "what the server has and does"},
    {"top", cmd_top, "the same, live"},
    {"keygen", cmd_keygen, "make a key pair"},
    {"bench", cmd_bench, "measure line operations or page faults beside their floors"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    return cli_dispatch(commands, "Uses the memory that fabricd serves.", argc, argv);
}
