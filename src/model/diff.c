/*
 * Unified differences with the greedy algorithm of E. W. Myers, "An O(ND) Difference Algorithm and Its
 * Variations" (1986): for growing numbers of edits d, how far each diagonal k = x - y gets; the furthest points
 * of every d are kept, and the way is read back from them.
 */
#include "model/diff.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/vec.h"

enum { CONTEXT_LINES = 3, EDITS_MAX = 2000 };

struct lines {
    VEC(struct str) v;
};

/* Lines with their line feed, so that a missing last one is a difference too. */
static bool split_lines(struct str text, struct lines *lines)
{
    while (text.len) {
        size_t end = MIN(str_index(text, '\n') + 1, text.len);

        if (!VEC_PUSH(&lines->v, str_part(text, 0, end)))
            return false;
        text = str_from(text, end);
    }
    return true;
}

enum edit { EDIT_KEEP, EDIT_DELETE, EDIT_INSERT };

struct script {
    VEC(unsigned char) edits; /* enum edit, in order */
};

/* The furthest x on diagonal k with d edits, from those with d - 1. */
static int step(const int *v, int d, int k)
{
    if (k == -d || (k != d && v[k - 1] < v[k + 1]))
        return v[k + 1];
    return v[k - 1] + 1;
}

struct search {
    const struct lines *a, *b;
    int n_a, n_b;
    int **saved; /* saved[d] is v before round d, centred */
    int n_saved;
};

static int slide(const struct search *s, int x, int k)
{
    while (x < s->n_a && x - k < s->n_b && str_eq(s->a->v.at[x], s->b->v.at[x - k]))
        x++;
    return x;
}

static bool save_round(struct search *s, const int *v, int d)
{
    int *copy = NEW_ARRAY(int, (size_t)(2 * d + 3));

    if (!copy)
        return false;
    memcpy(copy, v - d - 1, (size_t)(2 * d + 3) * sizeof(int));
    s->saved[s->n_saved++] = copy;
    return true;
}

/* Returns the number of edits, limit + 1 when there are more, ERR_NOMEM without memory. */
static int search_edits(struct search *s, int limit)
{
    int *room = NEW_ARRAY(int, (size_t)(2 * limit + 3));
    int *v = room ? room + limit + 1 : NULL;
    int result = limit + 1;

    if (!room)
        return ERR_NOMEM;
    v[1] = 0;
    for (int d = 0; d <= limit && result > limit; d++) {
        if (!save_round(s, v, d)) {
            result = ERR_NOMEM;
            break;
        }
        for (int k = -d; k <= d; k += 2) {
            v[k] = slide(s, step(v, d, k), k);
            if (v[k] >= s->n_a && v[k] - k >= s->n_b) {
                result = d;
                break;
            }
        }
    }
    (void)mem_free(room);
    return result;
}

/* Reads the way back from the end, last edit first. */
static bool trace_back(const struct search *s, int d, struct script *script)
{
    int x = s->n_a, y = s->n_b;

    for (; d >= 0; d--) {
        const int *v = s->saved[d] + d + 1;
        int k = x - y;
        bool down = k == -d || (k != d && v[k - 1] < v[k + 1]);
        int from_x = d == 0 ? 0 : down ? v[k + 1] : v[k - 1];
        int from_y = d == 0 ? 0 : from_x - (down ? k + 1 : k - 1);

        while (x > from_x + (d > 0 && !down) && y > from_y + (d > 0 && down)) {
            if (!VEC_PUSH(&script->edits, EDIT_KEEP))
                return false;
            x--;
            y--;
        }
        if (d > 0 && !VEC_PUSH(&script->edits, down ? EDIT_INSERT : EDIT_DELETE))
            return false;
        x = from_x;
        y = from_y;
    }
    for (size_t i = 0, j = script->edits.n; i + 1 < j; i++, j--) {
        unsigned char swap = script->edits.at[i];

        script->edits.at[i] = script->edits.at[j - 1];
        script->edits.at[j - 1] = swap;
    }
    return true;
}

/* Everything deleted, everything inserted: the answer when the texts have too little in common. */
static bool replace_all(const struct search *s, struct script *script)
{
    for (int i = 0; i < s->n_a + s->n_b; i++)
        if (!VEC_PUSH(&script->edits, i < s->n_a ? EDIT_DELETE : EDIT_INSERT))
            return false;
    return true;
}

static int make_script(const struct lines *a, const struct lines *b, struct script *script)
{
    struct search s = {a, b, (int)a->v.n, (int)b->v.n, NULL, 0};
    int limit = (int)MIN(a->v.n + b->v.n, (size_t)EDITS_MAX);
    int d, r = 0;

    s.saved = NEW_ARRAY(int *, (size_t)limit + 1);
    if (!s.saved)
        return ERR_NOMEM;
    d = search_edits(&s, limit);
    if (d == ERR_NOMEM || !(d <= limit ? trace_back(&s, d, script) : replace_all(&s, script)))
        r = ERR_NOMEM;
    for (int i = 0; i < s.n_saved; i++)
        (void)mem_free(s.saved[i]);
    (void)mem_free(s.saved);
    return r;
}

/* ---- output ---- */

static void put_line(struct buf *out, char sign, struct str line)
{
    buf_put_byte(out, (unsigned char)sign);
    buf_put_str(out, line);
    if (!str_ends(line, STR("\n")))
        buf_put_c(out, "\n\\ No newline at end of file\n");
}

struct hunk {
    size_t begin, end;     /* edits */
    size_t line_a, line_b; /* lines before it, on each side */
};

static void put_range(struct buf *out, char sign, size_t before, size_t n)
{
    buf_printf(out, "%c%zu", sign, n ? before + 1 : before);
    if (n != 1)
        buf_printf(out, ",%zu", n);
}

static void put_hunk(struct buf *out, const struct script *script, struct hunk h,
                     const struct lines *a, const struct lines *b)
{
    size_t n_a = 0, n_b = 0, at_a = h.line_a, at_b = h.line_b;

    for (size_t i = h.begin; i < h.end; i++) {
        n_a += script->edits.at[i] != EDIT_INSERT;
        n_b += script->edits.at[i] != EDIT_DELETE;
    }
    buf_put_c(out, "@@ ");
    put_range(out, '-', h.line_a, n_a);
    buf_put_byte(out, ' ');
    put_range(out, '+', h.line_b, n_b);
    buf_put_c(out, " @@\n");
    for (size_t i = h.begin; i < h.end; i++) {
        switch ((enum edit)script->edits.at[i]) {
        case EDIT_KEEP:
            put_line(out, ' ', a->v.at[at_a++]);
            at_b++;
            break;
        case EDIT_DELETE: put_line(out, '-', a->v.at[at_a++]); break;
        case EDIT_INSERT: put_line(out, '+', b->v.at[at_b++]); break;
        }
    }
}

/* The end of the hunk whose first change is at begin: where the kept run is longer than two contexts. */
static size_t hunk_end(const struct script *script, size_t begin)
{
    size_t last = begin;

    for (size_t i = begin; i < script->edits.n && i <= last + (size_t)2 * CONTEXT_LINES; i++)
        if (script->edits.at[i] != EDIT_KEEP)
            last = i;
    return MIN(last + 1 + CONTEXT_LINES, script->edits.n);
}

static void put_hunks(struct buf *out, const struct script *script, const struct lines *a,
                      const struct lines *b)
{
    size_t line_a = 0, line_b = 0, i = 0;

    while (i < script->edits.n) {
        struct hunk h;
        size_t back;

        if (script->edits.at[i] == EDIT_KEEP) {
            i++;
            line_a++;
            line_b++;
            continue;
        }
        back = MIN(line_a, (size_t)CONTEXT_LINES);
        back = MIN(back, i);
        h = (struct hunk){i - back, hunk_end(script, i), line_a - back, line_b - back};
        put_hunk(out, script, h, a, b);
        for (; i < h.end; i++) {
            line_a += script->edits.at[i] != EDIT_INSERT;
            line_b += script->edits.at[i] != EDIT_DELETE;
        }
    }
}

static void put_head(struct buf *out, const struct diff_names *names)
{
    buf_printf(out, "--- %.*s\n",
               STR_ARG(names->before.len ? names->before : STR("/dev/null")));
    buf_printf(out, "+++ %.*s\n", STR_ARG(names->after.len ? names->after : STR("/dev/null")));
}

int diff_unified(struct str before, struct str after, const struct diff_names *names,
                 struct buf *out)
{
    struct lines a = {0}, b = {0};
    struct script script = {0};
    int r = 0;

    if (str_eq(before, after))
        return 0;
    put_head(out, names);
    if (!str_is_utf8(before) || !str_is_utf8(after)) {
        buf_printf(out, "Binary contents differ: %zu and %zu bytes\n", before.len, after.len);
        return 0;
    }
    if (!split_lines(before, &a) || !split_lines(after, &b))
        r = ERR_NOMEM;
    if (!r)
        r = make_script(&a, &b, &script);
    if (!r)
        put_hunks(out, &script, &a, &b);
    VEC_DEINIT(&a.v);
    VEC_DEINIT(&b.v);
    VEC_DEINIT(&script.edits);
    return r;
}
