/*
 * Frames of the feed for who reads JSON.
 */
#ifndef TRIMTAB_SERVER_EDGE_FRAME_JSON_H
#define TRIMTAB_SERVER_EDGE_FRAME_JSON_H

#include "feed/feed.h"

/* A pulled frame, taken over, as a message with texts where they can be; freed by frame_free. NULL without memory. */
Trimtab__V1__ServerFrame *frame_message(struct feed_frame *frame);
void frame_free(Trimtab__V1__ServerFrame *m);

#endif
