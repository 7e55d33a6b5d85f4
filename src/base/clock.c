/*
 * Time and chance. See clock.h.
 */
#include "base/clock.h"

#include "base/err.h"

#include <sys/random.h>

nsec_t clock_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (nsec_t)t.tv_sec * NSEC_PER_S + (nsec_t)t.tv_nsec;
}

nsec_t clock_thread_cpu(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* cannot fail for this clock */
    return (nsec_t)t.tv_sec * NSEC_PER_S + (nsec_t)t.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void wall_format(int64_t wall_ms, char out[WALL_TEXT_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n;

    if (!gmtime_r(&seconds, &tm)) {
        out[0] = '\0';
        return;
    }
    n = strftime(out, WALL_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, WALL_TEXT_MAX - n, ".%03dZ", (int)(wall_ms % 1000));
}

/* n digits at a place, as a number up to max; the place goes on behind them. */
static bool take_digits(struct str text, size_t *at, size_t n, int min, int max, int *ret)
{
    int value = 0;

    for (size_t i = 0; i < n; i++, (*at)++) {
        if (*at >= text.len || text.data[*at] < '0' || text.data[*at] > '9')
            return false;
        value = value * 10 + (text.data[*at] - '0');
    }
    *ret = value;
    return value >= min && value <= max;
}

static bool take_byte(struct str text, size_t *at, const char *any_of, char *ret)
{
    if (*at >= text.len || !text.data[*at] || !strchr(any_of, text.data[*at]))
        return false;
    *ret = text.data[(*at)++];
    return true;
}

/* Digits beyond the third are cut. */
static bool take_fraction(struct str text, size_t *at, int *ret_ms)
{
    int scale = 100, digit;
    char dot;

    *ret_ms = 0;
    if (!take_byte(text, at, ".", &dot))
        return true;
    if (!take_digits(text, at, 1, 0, 9, &digit))
        return false;
    *ret_ms = digit * scale;
    while (*at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9') {
        scale /= 10;
        *ret_ms += (text.data[(*at)++] - '0') * scale;
    }
    return true;
}

static bool take_offset(struct str text, size_t *at, int *ret_minutes)
{
    int hours, minutes;
    char sign, colon;

    if (!take_byte(text, at, "Zz+-", &sign))
        return false;
    *ret_minutes = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if (!take_digits(text, at, 2, 0, 23, &hours) || !take_byte(text, at, ":", &colon) ||
        !take_digits(text, at, 2, 0, 59, &minutes))
        return false;
    *ret_minutes = (sign == '-' ? -1 : 1) * (60 * hours + minutes);
    return true;
}

static bool take_date(struct str text, size_t *at, struct tm *tm)
{
    static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, is_leap;
    char dash;

    if (!take_digits(text, at, 4, 1, 9999, &year) || !take_byte(text, at, "-", &dash) ||
        !take_digits(text, at, 2, 1, 12, &month) || !take_byte(text, at, "-", &dash) ||
        !take_digits(text, at, 2, 1, 31, &day))
        return false;
    is_leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    *tm = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return day <= days[month - 1] + is_leap;
}

/* A leap second is taken for the one after it. */
static bool take_time(struct str text, size_t *at, struct tm *tm)
{
    char colon;

    return take_digits(text, at, 2, 0, 23, &tm->tm_hour) && take_byte(text, at, ":", &colon) &&
           take_digits(text, at, 2, 0, 59, &tm->tm_min) && take_byte(text, at, ":", &colon) &&
           take_digits(text, at, 2, 0, 60, &tm->tm_sec);
}

bool wall_parse(struct str text, int64_t *ret_wall_ms)
{
    struct tm tm;
    int ms, offset;
    size_t at = 0;
    char t;

    if (!take_date(text, &at, &tm) || !take_byte(text, &at, "Tt ", &t) ||
        !take_time(text, &at, &tm) || !take_fraction(text, &at, &ms) ||
        !take_offset(text, &at, &offset) || at != text.len)
        return false;
    *ret_wall_ms = ((int64_t)timegm(&tm) - (int64_t)offset * 60) * 1000 + ms;
    return true;
}

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

int random_bytes(void *out, size_t len)
{
    char *at = out;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        if (n <= 0)
            return ERR_IO;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}
