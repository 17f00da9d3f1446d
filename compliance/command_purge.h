#ifndef COMPLIANCE_COMMAND_PURGE_H
#define COMPLIANCE_COMMAND_PURGE_H

/* Commands of the control socket about holds and purges. */

struct control_request;
struct engine;
struct json_t;

typedef void command_purge_run(
    struct engine *e, struct control_request *r, const struct json_t *args);

command_purge_run command_hold_add, command_hold_release, command_hold_list,
    command_purge_dry, command_purge_now, command_purge_approve;

#endif
