/*
 * Errands. See errand.h.
 */
#include "server/hub/errand.h"

static void run_on_hub(struct post *post, void *ctx)
{
    struct errand *e = ctx;

    (void)post;
    e->run(e);
}

static void done_at_home(struct post *post, void *ctx)
{
    struct errand *e = ctx;

    (void)post;
    hub_end_flight(e->hub);
    e->done(e);
}

void errand_send(struct errand *e, struct hub *hub, struct loop *home)
{
    e->hub = hub;
    e->home = home;
    e->is_away = home != hub->loop;
    if (!e->is_away) {
        e->run(e);
        return;
    }
    hub_begin_flight(hub);
    e->post = (struct post){.fn = run_on_hub, .ctx = e};
    loop_post(hub->loop, &e->post);
}

void errand_go_on(struct errand *e, struct loop *loop, void (*fn)(struct post *post, void *e))
{
    if (!e->is_away)
        hub_begin_flight(e->hub);
    e->is_away = true;
    e->post = (struct post){.fn = fn, .ctx = e};
    loop_post(loop, &e->post);
}

void errand_return(struct errand *e)
{
    if (!e->is_away) {
        e->done(e);
        return;
    }
    e->post = (struct post){.fn = done_at_home, .ctx = e};
    loop_post(e->home, &e->post);
}
