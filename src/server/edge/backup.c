/*
 * One backup: its copy is made, then sent. See backup.h.
 *
 *   asked -> COPYING (the committer) -> SENDING (on_writable) -> ended
 *
 * The file has no name any more once it is sent, so that it goes with the stream, whatever ends it.
 */
#include "server/edge/backup.h"

#include "base/log.h"
#include "proto/convert.h"
#include "server/edge/denial.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_BYTES = 256 * 1024, QUEUED_MAX = 4 * PART_BYTES, PATH_BYTES = 4096 };

struct backup {
    struct hub *hub;
    struct grpc_call *call; /* NULL: the client has gone */
    struct backup_job job;
    bool is_copying, is_ended;
    int fd; /* of the copy that is being sent; -1: none */
    uint64_t size, sent;
    char path[PATH_BYTES];
    char part[PART_BYTES];
};

static void backup_free(struct backup *b)
{
    atomic_store(&b->hub->is_backing_up, false);
    if (b->fd >= 0)
        (void)close(b->fd); /* only read */
    (void)mem_free(b);
}

static void fail(struct backup *b, int code, struct err *err)
{
    if (!err->code)
        (void)err_set(err, code, "out of memory");
    b->is_ended = true;
    if (b->call)
        grpc_fail_err(b->call, err);
}

/* ---- sending ---- */

static int send_part(struct backup *b, size_t n)
{
    Trimtab__V1__BackupPart part = TRIMTAB__V1__BACKUP_PART__INIT;
    owned(shared_unref) struct shared *packed = NULL;
    struct segment segment;

    part.size = b->size;
    part.revision = b->job.revision;
    part.offset = b->sent;
    part.data = proto_bytes(str_of(b->part, n));
    packed = proto_pack(&part.base, 0);
    if (!packed)
        return ERR_NOMEM;
    b->sent += n;
    segment = segment_shared(packed);
    return grpc_send(b->call, &segment, 1);
}

static void send_more(struct backup *b)
{
    struct err err = ERR_NULL;

    while (!b->is_ended && b->sent < b->size && grpc_queued(b->call) < QUEUED_MAX) {
        ssize_t n = pread(b->fd, b->part, PART_BYTES, (off_t)b->sent);
        int r = n > 0 ? send_part(b, (size_t)n)
                : n   ? err_set_errno(&err, "cannot read the copy")
                      : err_set(&err, ERR_CORRUPT, "the copy became shorter");

        if (r)
            fail(b, r, &err);
    }
    if (b->is_ended || b->sent < b->size)
        return;
    b->is_ended = true;
    LOG(INFO, "backup_sent", LOG_U64("revision", b->job.revision), LOG_U64("bytes", b->size));
    grpc_finish(b->call, GRPC_OK, NULL);
}

static int open_copy(struct backup *b, struct err *err)
{
    struct stat st;

    b->fd = open(b->path, O_RDONLY | O_CLOEXEC);
    if (b->fd < 0 || fstat(b->fd, &st))
        return err_set_errno(err, "cannot open the copy %s", b->path);
    b->size = (uint64_t)st.st_size;
    return 0;
}

static void on_copied(struct backup_job *job)
{
    struct backup *b = CONTAINER_OF(job, struct backup, job);
    int r = job->result;

    b->is_copying = false;
    if (!b->call) {
        (void)unlink(b->path); /* it may not be there */
        backup_free(b);
        return;
    }
    if (!r)
        r = open_copy(b, &job->err);
    (void)unlink(b->path); /* likewise; what is open stays */
    if (r)
        fail(b, r, &job->err);
    else
        send_more(b);
}

/* ---- the call ---- */

static void on_request(struct grpc_call *call, void *ctx, struct str message)
{
    struct backup *b = ctx;

    (void)call;
    (void)message; /* it says nothing yet */
    if (b->is_copying || b->is_ended || b->fd >= 0)
        return;
    b->is_copying = true;
    (void)unlink(b->path); /* what a server that was killed left */
    committer_backup(b->hub->committer, &b->job);
}

static void on_writable(struct grpc_call *call, void *ctx)
{
    struct backup *b = ctx;

    (void)call;
    if (b->fd >= 0)
        send_more(b);
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct backup *b = ctx;

    (void)call;
    (void)reason;
    b->call = NULL;
    b->is_ended = true;
    if (b->is_copying)
        committer_backup_cancel(&b->job);
    else
        backup_free(b);
}

static const struct grpc_ops ops = {
    .on_message = on_request, .on_writable = on_writable, .on_close = on_close};

static int begin(struct front *front, struct grpc_call *call, struct backup **ret,
                 struct err *err)
{
    struct identity who;
    owned(auth_record_unref) struct auth_record *record = auth_current(front->lane->hub->auth);
    int r = lane_identify(front->lane, grpc_exchange(call), &who, err);

    if (!r)
        r = auth_may(record, &who, RIGHT_TO_ADMIN, SPACE_EVERYTHING, err);
    if (r)
        return r;
    *ret = NEW(struct backup);
    if (!*ret)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (atomic_exchange(&front->lane->hub->is_backing_up, true)) {
        *ret = mem_free(*ret);
        return err_set(err, ERR_LOCKED, "another backup is being made");
    }
    LOG(INFO, "backup", LOG_C("by", who.name));
    return 0;
}

void backup_on_call(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct front *front = service_ctx;
    struct err err = ERR_NULL;
    struct backup *b = NULL;

    (void)message;
    if (begin(front, call, &b, &err)) {
        denial_fail_call(front->lane, call, &err);
        return;
    }
    b->hub = front->lane->hub;
    b->call = call;
    b->fd = -1;
    (void)snprintf(b->path, sizeof(b->path), "%s/backup.part", b->hub->config.data_dir);
    b->job = (struct backup_job){.path = b->path, .done = on_copied, .home = front->lane->loop};
    grpc_set_ops(call, &ops, b);
}
