/*
 * Metrics in the text format of Prometheus.
 */
#ifndef TRIMTAB_SERVER_EDGE_METRICS_H
#define TRIMTAB_SERVER_EDGE_METRICS_H

#include "server/edge/rest.h"

void metrics_answer(struct rest *r);

#endif
