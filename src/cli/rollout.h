/*
 * What the subcommands of rollout share: targets and steps from flags, and pictures of a rollout.
 */
#ifndef TRIMTAB_CLI_ROLLOUT_H
#define TRIMTAB_CLI_ROLLOUT_H

#include "cli/cmd.h"
#include "proto/step_text.h"

enum { STEP_FLAGS = 9 };
/* The flags that say whom a step is for; flags has room for STEP_FLAGS. */
void step_flags_rows(struct step_words *t, struct flag *flags);

enum { CRITERIA_FLAGS = 6 };
/* The flags that say when a step has gone well, and that it may be for nobody; flags has room for CRITERIA_FLAGS. */
void criteria_flags_rows(struct step_words *t, struct flag *flags);

/* "labels=zone=a;percent=10;soak=30s". */
must_use int step_of_text(struct cli *cli, const char *text, Trimtab__V1__Step **ret,
                          struct err *err);
/* The plan that flags and --step texts make: the flags are its first step. */
must_use int plan_of(struct cli *cli, const struct step_words *t, const struct texts *steps,
                     Trimtab__V1__RolloutPlan *plan, struct err *err);

/* "90s" and the like as milliseconds. */
must_use int milliseconds(const char *text, uint64_t *ret_ms, struct err *err);

/* One line: "rollout 7 running, step 1 of 3: 4 targets, 3 ok, 1 pending"; on the arena. */
char *rollout_line(struct cli *cli, const Trimtab__V1__Rollout *r);

/* Shows a rollout until it has ended. ERR_REFUSED unless it was confirmed; ERR_TIMEOUT after timeout_s, 0: never. */
must_use int rollout_watch(struct cli *cli, uint64_t id, uint64_t timeout_s, struct err *err);

extern const struct command cmd_rollout_status, cmd_rollout_watch, cmd_rollout_list;

#endif
