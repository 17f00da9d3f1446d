#ifndef COMPLIANCE_COMMAND_KEY_H
#define COMPLIANCE_COMMAND_KEY_H

/* The control socket's command about the signing key. */

#include "compliance/engine_state.h"

/* key.rotate {"compromised":bool} */
void command_key_rotate(
    struct engine *e, struct control_request *r, const struct json_t *args);

#endif
