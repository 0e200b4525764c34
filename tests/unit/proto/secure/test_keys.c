/* test_keys.c - key files: what is written, what is refused and with which words; memory for secrets */
#include "keys.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES 256

static char folder[] = "/tmp/test_keys.XXXXXX";
static char path[PATH_BYTES], public_path[PATH_BYTES + 4], why[KEYS_WHY_BYTES];

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/key", folder);
    snprintf(public_path, sizeof(public_path), "%s.pub", path);
    why[0] = '\0';
}

static void teardown(void)
{
    unlink(path);
    unlink(public_path);
    rmdir(folder);
}

TestSuite(keys, .init = setup, .fini = teardown);

static void write_file(const char *name, const void *bytes, size_t count, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, count), (ssize_t)count);
    cr_assert_eq(fchmod(fd, mode), 0);
    close(fd);
}

static struct noise_keypair write_pair(void)
{
    struct noise_keypair pair;

    keys_generate(&pair);
    cr_assert_eq(keys_write_pair(path, &pair, why, sizeof(why)), 0, "%s", why);
    return pair;
}

static void assert_why_names(const char *name, const char *what)
{
    cr_assert_not_null(strstr(why, name), "\"%s\" does not name %s", why, name);
    cr_assert_not_null(strstr(why, what), "\"%s\" does not say \"%s\"", why, what);
    cr_assert_null(strchr(why, '\n'));
}

static void assert_secret_refused(int expected, const char *what)
{
    struct noise_keypair pair = {.secret = "untouched"}, before = pair;

    cr_assert_eq(keys_read_secret(path, &pair, why, sizeof(why)), expected, "%s", why);
    cr_assert_arr_eq(&pair, &before, sizeof(pair), "written on success only");
    assert_why_names(path, what);
}

/* ---- what is written is read ---- */

Test(keys, a_written_pair_is_read_back)
{
    struct noise_keypair pair = write_pair(), secret;
    uint8_t public[NOISE_KEY_BYTES];

    cr_assert_eq(keys_read_secret(path, &secret, why, sizeof(why)), 0, "%s", why);
    cr_assert_arr_eq(&secret, &pair, sizeof(pair));
    cr_assert_eq(keys_read_public(public_path, public, why, sizeof(why)), 0, "%s", why);
    cr_assert_arr_eq(public, pair.public, sizeof(public));
}

Test(keys, a_public_key_is_read_from_its_text)
{
    struct noise_keypair pair;
    char text[KEYS_TEXT_BYTES];
    uint8_t public[NOISE_KEY_BYTES];

    keys_generate(&pair);
    keys_format(pair.public, text);
    cr_assert_eq(strlen(text), KEYS_TEXT_BYTES - 1);
    cr_assert_eq(keys_read_public(text, public, why, sizeof(why)), 0, "%s", why);
    cr_assert_arr_eq(public, pair.public, sizeof(public));
}

Test(keys, files_get_their_modes_whatever_the_umask)
{
    static const mode_t umasks[] = {0, 022, 077, 0777};
    struct stat status;

    for (size_t i = 0; i < sizeof(umasks) / sizeof(umasks[0]); i++) {
        mode_t before = umask(umasks[i]);

        write_pair();
        umask(before);
        cr_assert_eq(stat(path, &status), 0);
        cr_assert_eq(status.st_mode & 07777, 0600);
        cr_assert_eq(stat(public_path, &status), 0);
        cr_assert_eq(status.st_mode & 07777, 0644);
        unlink(path);
        unlink(public_path);
    }
}

Test(keys, existing_files_are_not_overwritten)
{
    struct noise_keypair first = write_pair(), other, found;

    keys_generate(&other);
    cr_assert_eq(keys_write_pair(path, &other, why, sizeof(why)), -EEXIST);
    assert_why_names(path, "exists");
    cr_assert_eq(keys_read_secret(path, &found, why, sizeof(why)), 0);
    cr_assert_arr_eq(&found, &first, sizeof(first));

    unlink(path); /* only PATH.pub is in the way: PATH is not left behind */
    cr_assert_eq(keys_write_pair(path, &other, why, sizeof(why)), -EEXIST);
    assert_why_names(public_path, "exists");
    cr_assert_eq(access(path, F_OK), -1);
}

Test(keys, a_folder_that_is_not_there_is_named)
{
    struct noise_keypair pair;

    keys_generate(&pair);
    cr_assert_eq(keys_write_pair("/nonexistent/folder/key", &pair, why, sizeof(why)), -ENOENT);
    assert_why_names("/nonexistent/folder/key", "No such file");
}

Test(keys, a_path_that_is_too_long_is_refused)
{
    static char endless[8192];
    struct noise_keypair pair;

    memset(endless, 'a', sizeof(endless) - 1);
    keys_generate(&pair);
    cr_assert_eq(keys_write_pair(endless, &pair, why, sizeof(why)), -ENAMETOOLONG);
    cr_assert_eq(keys_read_secret(endless, &pair, why, sizeof(why)), -ENAMETOOLONG);
    cr_assert_lt(strlen(why), sizeof(why));
}

/* ---- what is refused ---- */

Test(keys, a_missing_file_is_refused)
{
    assert_secret_refused(-ENOENT, "No such file");
}

Test(keys, every_loose_mode_is_refused)
{
    write_pair();
    for (mode_t bit = 01; bit <= 04000; bit <<= 1) {
        if (bit == S_IRUSR || bit == S_IWUSR)
            continue;
        cr_assert_eq(chmod(path, 0600 | bit), 0);
        assert_secret_refused(-EPERM, "0600");
    }
}

Test(keys, a_stricter_mode_is_taken)
{
    struct noise_keypair pair;

    write_pair();
    cr_assert_eq(chmod(path, 0400), 0);
    cr_assert_eq(keys_read_secret(path, &pair, why, sizeof(why)), 0, "%s", why);
}

Test(keys, a_symbolic_link_is_refused)
{
    char target[PATH_BYTES + 8];

    write_pair();
    snprintf(target, sizeof(target), "%s.real", path);
    cr_assert_eq(rename(path, target), 0);
    cr_assert_eq(symlink(target, path), 0);
    assert_secret_refused(-ELOOP, "symbolic link");
    unlink(target);
}

Test(keys, a_fifo_is_refused_without_waiting)
{
    cr_assert_eq(mkfifo(path, 0600), 0);
    assert_secret_refused(-EINVAL, "regular file");
}

Test(keys, a_folder_is_refused)
{
    cr_assert_eq(mkdir(path, 0700), 0);
    assert_secret_refused(-EINVAL, "regular file");
    rmdir(path);
}

Test(keys, another_users_file_is_refused)
{
    write_pair();
    if (geteuid() != 0)
        cr_skip_test("needs root, to give a file away");
    cr_assert_eq(chown(path, 65534, (gid_t)-1), 0);
    assert_secret_refused(-EPERM, "belongs to user 65534");
}

Test(keys, every_wrong_size_is_refused)
{
    struct noise_keypair pair;
    char line[128];

    keys_generate(&pair);
    memset(line, 'A', sizeof(line));
    keys_format(pair.secret, line);
    line[KEYS_TEXT_BYTES - 1] = '\n';
    for (size_t count = 0; count < sizeof(line); count++) {
        if (count == KEYS_TEXT_BYTES || count == KEYS_TEXT_BYTES - 1)
            continue; /* the newline may be missing */
        write_file(path, line, count, 0600);
        assert_secret_refused(-EINVAL, "base64");
    }
    write_file(path, line, KEYS_TEXT_BYTES - 1, 0600);
    cr_assert_eq(keys_read_secret(path, &pair, why, sizeof(why)), 0, "%s", why);
}

Test(keys, text_that_is_no_key_is_refused)
{
    static const char *const texts[] = {
        "not base64 at all, but just as long as a key\n", /* spaces */
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh\n", /* 33 bytes */
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw==\n", /* 31 bytes */
        "-_IDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n", /* the other alphabet */
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyB=\n", /* bits behind the end */
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA= ",  /* a space for the newline */
        "\xEF\xBB\xBF"
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n", /* a byte order mark */
        "\nAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=", /* a newline before */
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(path, texts[i], strlen(texts[i]), 0600);
        assert_secret_refused(-EINVAL, "base64");
    }
}

Test(keys, a_secret_of_zeros_is_refused)
{
    static const char zeros[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    write_file(path, zeros, strlen(zeros), 0600);
    assert_secret_refused(-EINVAL, "zeros");
}

Test(keys, a_public_key_of_low_order_is_refused)
{
    uint8_t public[NOISE_KEY_BYTES];

    cr_assert_eq(keys_read_public("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", public, why, sizeof(why)),
                 -EINVAL);
    assert_why_names("AAAA", "low order");
}

Test(keys, a_public_key_that_everybody_may_replace_is_refused)
{
    uint8_t public[NOISE_KEY_BYTES];

    write_pair();
    cr_assert_eq(chmod(public_path, 0666), 0);
    cr_assert_eq(keys_read_public(public_path, public, why, sizeof(why)), -EPERM);
    assert_why_names(public_path, "0644");
}

Test(keys, no_sentence_contains_key_material)
{
    struct noise_keypair pair = write_pair();
    char text[KEYS_TEXT_BYTES];

    keys_format(pair.secret, text);
    text[43] = '!'; /* nearly a key */
    write_file(path, text, KEYS_TEXT_BYTES - 1, 0600);
    assert_secret_refused(-EINVAL, "base64");
    text[8] = '\0';
    cr_assert_null(strstr(why, text), "\"%s\" gives the key away", why);
}

Test(keys, a_short_room_for_the_sentence_is_respected)
{
    char tiny[8] = ".......";
    struct noise_keypair pair;

    cr_assert_eq(keys_read_secret(path, &pair, tiny, 4), -ENOENT);
    cr_assert_eq(tiny[3], '\0');
    cr_assert_eq(tiny[4], '.');
    cr_assert_eq(keys_read_secret(path, &pair, NULL, 0), -ENOENT, "nobody wants to know");
}

/* ---- memory ---- */

/* Does /proc/self/smaps say that the mapping at `address` carries `flag`? */
static bool mapping_has(const void *address, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    bool ours = false, found = false;
    char line[512];

    cr_assert_not_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long start, end;

        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            ours = (unsigned long)address >= start && (unsigned long)address < end;
        else if (ours && strncmp(line, "VmFlags:", 8) == 0)
            found |= strstr(line, flag) != NULL;
    }
    fclose(maps);
    return found;
}

Test(keys, secret_pages_stay_out_of_core_dumps)
{
    uint8_t *pages = secret_pages_alloc(3 * 4096 + 1), *others = malloc(100000);

    cr_assert_not_null(pages);
    cr_assert(sodium_is_zero(pages, 3 * 4096 + 1));
    memset(pages, 0xAA, 3 * 4096 + 1);
    cr_assert(mapping_has(pages, " dd"));
    cr_assert_not(mapping_has(others, " dd"), "the check can tell");
    secret_pages_free(pages, 3 * 4096 + 1);
    free(others);
}

Test(keys, secret_pages_are_empty_in_a_forked_child)
{
    uint8_t *pages = secret_pages_alloc(4096);
    int status;
    pid_t child;

    cr_assert_not_null(pages);
    memset(pages, 0xAA, 4096);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(sodium_is_zero(pages, 4096) ? 0 : 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_eq(pages[0], 0xAA);
    secret_pages_free(pages, 4096);
    secret_pages_free(NULL, 4096);
}

Test(keys, secret_pages_of_absurd_sizes_are_refused)
{
    cr_assert_null(secret_pages_alloc(SIZE_MAX));
    cr_assert_null(secret_pages_alloc(SIZE_MAX / 2));
}
