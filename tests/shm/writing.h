/*
 * For tests of segments: a writer in the running case's own folder.
 */
#ifndef TRIMTAB_TESTS_SHM_WRITING_H
#define TRIMTAB_TESTS_SHM_WRITING_H

#include "tap.h"

#include "base/buf.h"
#include "shm/reader.h"
#include "shm/writer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT "shop.segment"

struct bench {
    int folder;
    char path[512];
    struct shm_writer_opts opts;
    struct shm_writer *w;
    struct err story, err;
};

/* Opens a writer, on what is in the folder already if the case has had one before. */
static inline bool bench_open(struct bench *b)
{
    (void)snprintf(b->path, sizeof(b->path), "%s/%s", tap_tmpdir(), SEGMENT);
    b->folder = open(tap_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    b->opts = (struct shm_writer_opts){.folder = b->folder,
                                       .name = SEGMENT,
                                       .owner = SHM_OWNER_KEEP,
                                       .group = SHM_GROUP_KEEP,
                                       .mode = 0640,
                                       .max_bytes = 64 * MIB};
    b->story = b->err = ERR_NULL;
    if (shm_writer_open(&b->opts, &b->w, &b->story, &b->err) == 0)
        return true;
    tap_note("%s", b->err.text);
    return false;
}

static inline void bench_close(struct bench *b)
{
    b->w = shm_writer_close(b->w);
    (void)close(b->folder);
}

/* One item by C strings; json NULL: it goes. */
static inline int bench_put(struct bench *b, const char *name, const char *json,
                            uint64_t revision)
{
    struct shm_item item = {str_c(name), str_c(json), json == NULL};

    return shm_writer_apply(b->w, &item, 1, revision, &b->err);
}

/* What was read: 1, 0 or a failure, and the JSON. */
struct seen {
    int r;
    enum shm_value_type type;
    int64_t integer;
    double number;
    char json[4096], text[4096];
    size_t json_len, text_len;
};

static inline void take_seen(void *ctx, const struct shm_record *r)
{
    struct seen *s = ctx;
    size_t json = MIN(r->json_len, sizeof(s->json) - 1);
    size_t text = r->value.text ? MIN(r->text_len, sizeof(s->text) - 1) : 0;

    s->type = r->value.type;
    s->integer = r->value.integer;
    s->number = r->value.number;
    memcpy(s->json, r->value.json, json);
    s->json[json] = '\0';
    s->json_len = r->json_len;
    if (text)
        memcpy(s->text, r->value.text, text);
    s->text[text] = '\0';
    s->text_len = r->text_len;
}

static inline struct seen see(struct shm_map *m, const char *name)
{
    static struct seen s;

    s = (struct seen){0};
    s.r = shm_map_read(m, str_c(name), take_seen, &s, NULL);
    return s;
}

#endif
