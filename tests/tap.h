/*
 * Tests that speak TAP (Test Anything Protocol 13): each TEST is one case, a failed CHECK is told with file,
 * line and both values and the case goes on. No case is limited by the clock: tests/watch ends what makes no
 * progress, and the case that ran then is named. "prog PATTERN" runs the cases whose name contains PATTERN;
 * "prog -l" lists them.
 *
 *   TEST("a growing percentage never drops a member") { CHECK_U64(count(), 3); }
 */
#ifndef TRIMTAB_TESTS_TAP_H
#define TRIMTAB_TESTS_TAP_H

#include "base/alloc.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tap_case {
    const char *name;
    void (*run)(void);
    unsigned within_s; /* own time (tests/watch) that it may take; 0: the usual limit */
    struct tap_case *next;
};

void tap_register(struct tap_case *c);
bool tap_check(bool ok, const char *file, int line, const char *fmt, ...) printf_like(4, 5);
void tap_skip(const char *reason); /* the running case counts as skipped, with this reason */
void tap_note(const char *fmt, ...) printf_like(1, 2);
bool tap_failed(void); /* whether the running case has failed a check */

/* A folder for the running case, made on the first call and removed with all its content afterwards. */
const char *tap_tmpdir(void);

#define TAP_CAT2(a, b) a##b
#define TAP_CAT(a, b)  TAP_CAT2(a, b)

#define TEST_WITHIN(seconds, title)                                                            \
    static void TAP_CAT(tap_run_, __LINE__)(void);                                             \
    static struct tap_case TAP_CAT(tap_case_, __LINE__) = {title, TAP_CAT(tap_run_, __LINE__), \
                                                           (seconds), NULL};                   \
    __attribute__((constructor)) static void TAP_CAT(tap_reg_, __LINE__)(void)                 \
    {                                                                                          \
        tap_register(&TAP_CAT(tap_case_, __LINE__));                                           \
    }                                                                                          \
    static void TAP_CAT(tap_run_, __LINE__)(void)

#define TEST(title) TEST_WITHIN(0, title)

#define CHECK(cond) tap_check((cond), __FILE__, __LINE__, "%s", #cond)

#define CHECK_I64(got, want)                                                                   \
    ({                                                                                         \
        long long got_ = (long long)(got), want_ = (long long)(want);                          \
        tap_check(got_ == want_, __FILE__, __LINE__, "%s: got %lld, want %lld", #got, got_,    \
                  want_);                                                                      \
    })

#define CHECK_U64(got, want)                                                                   \
    ({                                                                                         \
        unsigned long long got_ = (unsigned long long)(got),                                   \
                           want_ = (unsigned long long)(want);                                 \
        tap_check(got_ == want_, __FILE__, __LINE__, "%s: got %llu, want %llu", #got, got_,    \
                  want_);                                                                      \
    })

/* Slices; for C strings wrap in str_c(). */
#define CHECK_STR(got, want)                                                                   \
    ({                                                                                         \
        struct str got_ = (got), want_ = (want);                                               \
        tap_check(str_eq(got_, want_), __FILE__, __LINE__, "%s: got \"%.*s\", want \"%.*s\"",  \
                  #got, STR_ARG(got_), STR_ARG(want_));                                        \
    })

/* Ends the case (by return) when a check without which the rest makes no sense fails. */
#define REQUIRE(cond)                                                                          \
    do {                                                                                       \
        if (!tap_check((cond), __FILE__, __LINE__, "%s", #cond))                               \
            return;                                                                            \
    } while (0)

/*
 * Runs the body with the first, second, third ... allocation failing until a run had no failure. The body
 * must leave nothing allocated; n is the number of allocations that succeeded before the failing one.
 */
#define ALLOC_SWEEP(n)                                                                         \
    for (uint64_t n = 0, n##_more = 1; n##_more && (mem_fail_after(n), true);                  \
         n++, n##_more = (uint64_t)mem_fail_after(UINT64_MAX))

#endif
