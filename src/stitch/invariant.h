// Claims of a spec about its own connection graph, checked before anything boots.
#pragma once

#include "stitch/deployment.h"

namespace rayctl::stitch {

// Throws for the first invariant that doesn't hold. Claims are about every pair of a container of the first
// label and another one of the second:
//   reach        a path of connections leads from one to the other
//   reachDirect  they are connected
//   reachACL     a path leads there that doesn't pass through containers of labels annotated "ACL"
//   between      there is a path, and each passes a container of the third label (holds = false: none does)
//   enough       the Workers of the deployment have room for all containers within its placement rules
void check_invariants(const Deployment& deployment);

}  // namespace rayctl::stitch
