/* cmd_keygen.c - cxe keygen: a new key pair in two files */
#include "cli.h"

#include <sodium.h>
#include <stdio.h>

#include "keys.h"

static const struct cli_syntax syntax = {
    .arguments = "FILE",
    .doc = "Makes a key pair.\vThe secret key goes to FILE, which only its owner may read, the public one to "
           "FILE.pub; "
           "both must be new. The public key is printed: it is what the other side has to know.",
};

int cmd_keygen(int argc, char **argv)
{
    struct noise_keypair pair;
    char why[KEYS_WHY_BYTES], text[KEYS_TEXT_BYTES];
    char **arguments;
    int error;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    if (sodium_init() < 0)
        return cli_fail_system(-ENOSYS, "libsodium does not start");
    keys_generate(&pair);
    error = keys_write_pair(arguments[0], &pair, why, sizeof(why));
    keys_format(pair.public, text);
    sodium_memzero(&pair, sizeof(pair));
    if (error)
        return cli_fail_because(error, why);
    if (cli_json())
        return cli_print_json(json_pack("{s:s, s:s}", "file", arguments[0], "public_key", text));
    puts(text);
    return cli_flush();
}
