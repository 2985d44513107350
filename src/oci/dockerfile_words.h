// How the instructions of a Dockerfile split their text into words, pairs and flags.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/dockerfile.h"

namespace rayctl::oci {

std::vector<std::string> split_blanks(
    std::string_view text);  // words between white space; quotes mean nothing

// Words with their quotes and escapes kept: `a="b c" d\ e` is two.
std::vector<std::string> quoted_words(std::string_view text, char escape);

// A JSON array of strings, and perhaps a # comment; empty when `text` isn't one. An array that holds
// something else is an error.
std::optional<std::vector<std::string>> json_words(std::string_view text, const Place& place);

// `K=V K2="V 2"`, or the old form `K the rest of the line`; keys and values keep quotes and variables.
std::vector<KeyValue> pairs(std::string_view text, char escape, const Place& place, std::string_view keyword);

// The flags of one instruction; each is taken once, and those that nobody took are an error.
class Flags {
 public:
  Flags(const RawInstruction& instruction, const Place& place);
  std::optional<std::string> text(std::string_view name);  // --name=value
  std::vector<std::string> texts(std::string_view name);   // the same, any number of times
  std::optional<bool> boolean(std::string_view name);      // --name, --name=true, --name=false
  void finish() const;  // throws for a flag that the instruction doesn't have

 private:
  struct Flag {
    std::string name;
    std::optional<std::string> value;
    bool taken = false;
  };
  Flag* take(std::string_view name);

  std::vector<Flag> flags_;
  std::vector<std::string> known_;
  std::string keyword_;
  Place place_;
};

}  // namespace rayctl::oci
