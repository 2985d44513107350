// Variables in a Dockerfile: quotes, escapes and the forms of ${…} that docker's builder knows.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::oci {

// The value of a variable; empty when it isn't set.
using Lookup = std::function<std::optional<std::string>(const std::string& name)>;

// $v ${v}; ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?w} ${v?w}; ${v#p} ${v##p} ${v%p} ${v%%p}; ${v/p/r} ${v//p/r}.
// Words nest; patterns know * and ?. Quotes are removed, nothing expands between single ones. Throws "…: …"
// without a place: the caller has it. The result is at most 1 MiB.
std::string expand(std::string_view text, const Lookup& lookup, char escape = '\\');

// The same, and then split at unquoted white space (EXPOSE, VOLUME's plain form).
std::vector<std::string> expand_words(std::string_view text, const Lookup& lookup, char escape = '\\');

// The body of a heredoc file: variables and escapes, but quotes are text.
std::string expand_body(std::string_view text, const Lookup& lookup);

}  // namespace rayctl::oci
