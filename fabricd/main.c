/* main.c - the daemon's entry; everything is in fabricd.c, where tests reach it */
#include "fabricd.h"

int main(int count, char **arguments)
{
    struct options options;

    options_parse(count, arguments, &options);
    return fabricd_run(&options);
}
