/*
 * admin: what concerns the server as a whole.
 */
#include "base/file.h"
#include "cli/cmd.h"
#include "proto/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* A backup on its way into a file beside the one that it becomes. */
struct saving {
    int fd;
    uint64_t at, size, revision;
    struct err err;
};

static int save(struct saving *s, struct str message)
{
    Trimtab__V1__BackupPart *part = trimtab__v1__backup_part__unpack(
        &proto_allocator, message.len, (const uint8_t *)message.data);
    struct str data;
    int r = 0;

    if (!part)
        return err_set(&s->err, ERR_INVALID, "the server sent what is no part of a backup");
    data = proto_str(part->data);
    if (part->offset != s->at)
        r = err_set(&s->err, ERR_INVALID, "the server left out a part of the backup");
    while (!r && data.len) {
        ssize_t n = write(s->fd, data.data, data.len);

        if (n < 0)
            r = err_set_errno(&s->err, "cannot write the backup");
        else
            data = str_from(data, (size_t)n);
    }
    s->at += part->data.len;
    s->size = part->size;
    s->revision = part->revision;
    trimtab__v1__backup_part__free_unpacked(part, &proto_allocator);
    return r;
}

static void on_part(struct cli_stream *stream, void *ctx, struct str message)
{
    struct saving *s = ctx;

    if (save(s, message) || s->at == s->size)
        stream_stop(stream);
}

static void on_begin(struct cli_stream *stream, void *ctx)
{
    Trimtab__V1__BackupRequest request = TRIMTAB__V1__BACKUP_REQUEST__INIT;

    (void)ctx;
    stream_send(stream, &request.base);
}

static int receive(struct cli *cli, struct saving *s, struct err *err)
{
    struct stream_opts stream = {.method = "/trimtab.v1.Admin/Backup",
                                 .on_begin = on_begin,
                                 .on_message = on_part,
                                 .ctx = s};
    int r = stream_run(cli, &stream, err);

    if (s->err.code) {
        *err = s->err;
        return err->code;
    }
    if (!r && (s->at != s->size || !s->size))
        r = err_set(err, ERR_UNAVAILABLE, "the backup ended at %" PRIu64 " of %" PRIu64 " bytes",
                    s->at, s->size);
    return !r && fsync(s->fd) ? err_set_errno(err, "cannot sync the backup") : r;
}

static int backup(struct cli *cli, const char *path, struct err *err)
{
    struct saving s = {.fd = -1};
    char part[PATH_BYTES];
    int r;

    if (access(path, F_OK) == 0)
        return err_set(err, ERR_EXISTS, "%s exists already", path);
    if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part))
        return err_set(err, ERR_INVALID, "the path is too long");
    s.fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (s.fd < 0)
        return err_set_errno(err, "cannot make %s", part);
    r = receive(cli, &s, err);
    (void)close(s.fd); /* synced, or given up */
    if (!r && rename(part, path))
        r = err_set_errno(err, "cannot rename %s", part);
    if (!r)
        r = file_sync_parent(path, err);
    if (r) {
        (void)unlink(part); /* best effort: it is not whole */
        return r;
    }
    say(cli, "%s: %" PRIu64 " bytes, up to revision %" PRIu64, path, s.size, s.revision);
    return 0;
}

static int run_admin(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct words words;
    int r = take_flags(&cmd_admin, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 2 || strcmp(words.at[0], "backup") != 0)
        return usage(&cmd_admin, err, "admin backup takes one file");
    return backup(cli, words.at[1], err);
}

const struct command cmd_admin = {
    "admin", "admin backup FILE",
    "saves a copy of the database of the running server into a new file here",
    run_admin};
