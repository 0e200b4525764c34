/* cmd_bench.h - cxe bench, besides what it measures */
#ifndef CXE_CLI_CMD_BENCH_H
#define CXE_CLI_CMD_BENCH_H

/* cxe bench compare: a subcommand as in cli.h. */
int cmd_bench_compare(int argc, char **argv);

#endif
