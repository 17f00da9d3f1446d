#ifndef COMPLIANCE_COMMAND_AUDIT_H
#define COMPLIANCE_COMMAND_AUDIT_H

/* Commands of the control socket about reading the journal through. */

struct control_request;
struct engine;
struct json_t;

/* For the status; the caller's. */
struct json_t *command_audit_json(const struct engine *e);
/* Begins a reading on demand, or joins the one under way. */
void command_audit_run(
    struct engine *e, struct control_request *r, const struct json_t *args);
void command_audit_status(
    struct engine *e, struct control_request *r, const struct json_t *args);

#endif
