// The connection graph of a deployment as a picture: pure text, for `rayctl spec graph`.
#pragma once

#include <string>

#include "stitch/deployment.h"

namespace rayctl::stitch {

// One line per connection, sorted: "public -> web  80". Then labels without any, and what containers have no
// label.
std::string draw_text(const Deployment& deployment);

// For terminals: each label in a box with its containers, its connections below it. Plain ASCII when `utf8`
// isn't chosen.
enum class Charset { ascii, utf8 };
std::string draw_terminal(const Deployment& deployment, Charset charset);

std::string draw_dot(const Deployment& deployment);  // Graphviz
std::string draw_svg(const Deployment& deployment);  // labels in columns, callers to the left of the called

}  // namespace rayctl::stitch
