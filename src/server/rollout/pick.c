/*
 * Pages of picks. See pick.h.
 *
 * While it is filled a page is a heap whose first pick has the greatest id: the one that goes when a lower one comes. It holds
 * one more than its limit, which tells whether there are more.
 */
#include "server/rollout/pick.h"

#include "base/vec.h"

static bool is_behind(const struct pick *a, const struct pick *b)
{
    return strcmp(a->id, b->id) > 0;
}

static void swap(struct pick *a, struct pick *b)
{
    struct pick former = *a;

    *a = *b;
    *b = former;
}

/* The last one to where it belongs. */
static void rise(struct pick_page *page)
{
    size_t i = page->n - 1;

    for (; i && is_behind(&page->at[i], &page->at[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&page->at[i], &page->at[(i - 1) / 2]);
}

/* The first one to where it belongs. */
static void sink(struct pick_page *page)
{
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < page->n && is_behind(&page->at[child + 1], &page->at[child]))
            child++;
        if (child >= page->n || !is_behind(&page->at[child], &page->at[i]))
            return;
        swap(&page->at[i], &page->at[child]);
        i = child;
    }
}

bool pick_page_add(struct pick_page *page, struct pick p)
{
    if (strcmp(p.id, page->after) <= 0)
        return true;
    if (page->n <= page->limit) {
        if (!VEC_PUSH(page, p))
            return false;
        rise(page);
    } else if (is_behind(&page->at[0], &p)) {
        page->at[0] = p;
        sink(page);
    }
    return true;
}

static int cmp(const void *a, const void *b)
{
    const struct pick *pa = a, *pb = b;

    return strcmp(pa->id, pb->id);
}

void pick_page_close(struct pick_page *page)
{
    if (page->n)
        qsort(page->at, page->n, sizeof(*page->at), cmp);
    page->has_more = page->n > page->limit;
    page->n -= page->has_more;
}

void pick_page_deinit(struct pick_page *page)
{
    VEC_DEINIT(page);
}
