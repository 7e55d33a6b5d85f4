/*
 * Rights and roles. See role.h.
 */
#include "model/role.h"

#include "base/err.h"

static const struct role roles[] = {
    {STR("metrics"), RIGHT_TO_METRICS, "read the counters of the server"},
    {STR("subscribe"), RIGHT_TO_SUBSCRIBE, "receive configuration"},
    {STR("refer"), RIGHT_TO_REFER, "refer to resources from other namespaces"},
    {STR("view"), RIGHT_TO_VIEW, "see resources, history, rollouts and instances"},
    {STR("edit"), RIGHT_TO_VIEW | RIGHT_TO_EDIT, "view, and try changes without publishing"},
    {STR("retry"), RIGHT_TO_VIEW | RIGHT_TO_RETRY, "view, and have instances try again"},
    {STR("release"), RIGHT_TO_VIEW | RIGHT_TO_RELEASE,
     "view, and let go of deletions that instances hold"},
    {STR("forget"), RIGHT_TO_VIEW | RIGHT_TO_FORGET, "view, and set instance ids free"},
    {STR("stop"), RIGHT_TO_VIEW | RIGHT_TO_STOP, "view, and pause and resume the fleet"},
    {STR("approve"), RIGHT_TO_VIEW | RIGHT_TO_APPROVE, "view, and approve what is protected"},
    {STR("operate"),
     RIGHT_TO_VIEW | RIGHT_TO_OPERATE | RIGHT_TO_RETRY | RIGHT_TO_RELEASE | RIGHT_TO_STOP,
     "move rollouts; retry, release and stop"},
    {STR("publish"), RIGHT_TO_VIEW | RIGHT_TO_EDIT | RIGHT_TO_PUBLISH | RIGHT_TO_REFER,
     "edit, publish, and refer"},
    {STR("admin"), RIGHTS_ALL, "everything, grants included"},
};

const struct role *roles_all(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(roles);
    return roles;
}

const struct role *role_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eq(roles[i].name, name))
            return &roles[i];
    return NULL;
}

const struct role *role_for(enum right_to right)
{
    static const struct {
        enum right_to right;
        struct str role;
    } own[] = {
        {RIGHT_TO_VIEW, STR("view")},       {RIGHT_TO_EDIT, STR("edit")},
        {RIGHT_TO_PUBLISH, STR("publish")}, {RIGHT_TO_APPROVE, STR("approve")},
        {RIGHT_TO_REFER, STR("refer")},     {RIGHT_TO_SUBSCRIBE, STR("subscribe")},
        {RIGHT_TO_OPERATE, STR("operate")}, {RIGHT_TO_RETRY, STR("retry")},
        {RIGHT_TO_RELEASE, STR("release")}, {RIGHT_TO_FORGET, STR("forget")},
        {RIGHT_TO_STOP, STR("stop")},       {RIGHT_TO_METRICS, STR("metrics")},
        {RIGHT_TO_ADMIN, STR("admin")},
    };

    _Static_assert(ARRAY_LEN(own) == RIGHTS_COUNT, "each right has a role of its own");
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own[i].right == right)
            return role_find(own[i].role);
    bug(__FILE__, __LINE__, "one right, not a set of them");
}

bool right_find(struct str name, enum right_to *ret_right)
{
    for (unsigned right = 1; right <= RIGHTS_ALL; right <<= 1)
        if (str_eq(role_for((enum right_to)right)->name, name)) {
            *ret_right = (enum right_to)right;
            return true;
        }
    return false;
}

bool space_parent(struct str space, struct str *ret_parent)
{
    size_t end = space.len;

    if (!space.len)
        return false;
    while (end > 0 && space.data[end - 1] != '/')
        end--;
    *ret_parent = str_part(space, 0, end ? end - 1 : 0);
    return true;
}
