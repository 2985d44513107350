// The language: what each form and builtin gives, and what each says when it is wrong.
#include <catch2/catch.hpp>

#include "base/error.h"
#include "stitch/stitch.h"

using namespace rayctl;
using namespace rayctl::stitch;
using Catch::Matchers::Contains;
using Catch::Matchers::Equals;
using Catch::Matchers::StartsWith;

namespace {

Options quiet() {
  Options options;
  options.log = [](Level, const std::string&) {};
  return options;
}

Deployment run(const std::string& text) {
  return evaluate("(define Namespace \"n\") " + text, "t.spec", quiet());
}

// The value of an expression, as %v writes it.
std::string value(const std::string& expression) {
  std::string logged;
  Options options = quiet();
  options.log = [&](Level, const std::string& text) { logged = text; };
  evaluate("(log \"print\" (sprintf \"%v\" " + expression + "))", "t.spec", options);
  return logged;
}

// What a spec of one line says when it is wrong: its first line, without the file.
std::string fault(const std::string& text) {
  try {
    evaluate(text, "t.spec", quiet());
  } catch (const Error& e) {
    std::string message = e.message().substr(0, e.message().find('\n'));
    return message.rfind("t.spec:1:", 0) == 0 ? message.substr(9) : message;
  }
  return "";
}

}  // namespace

TEST_CASE("arithmetic is of integers, + also joins strings", "[stitch][eval]") {
  CHECK(value("(+ 1 2 3)") == "6");
  CHECK(value("(+ \"a\" \"b\" \"c\")") == "abc");
  CHECK(value("(- 1 2 3)") == "-4");
  CHECK(value("(* 2 3 4)") == "24");
  CHECK(value("(/ (- 0 7) 2)") == "-3");
  CHECK(value("(% (- 0 7) 2)") == "-1");
  CHECK(value("(list (< 1 2) (< 2 2) (> 2 1) (< 1 3 2))") == "(list true false true false)");
  CHECK(value("(list (! 0) (bool \"\") (bool (list)) (bool 0.0) (bool \"x\"))") ==
        "(list true false false true true)");
  CHECK(value("(= (list 1 \"a\" (hmap (1 2))) (list 1 \"a\" (hmap (1 2))))") == "true");
  CHECK(value("(= 1 1.0)") == "false");
  CHECK(value("(= \"a\" \"a\" \"b\")") == "false");
  CHECK(fault("(+ 1 \"a\")") == "6: '+' takes an integer here, not a string: \"a\"");
  CHECK(fault("(+ 1 1.5)") == "6: '+' takes an integer here, not a float: 1.5");
  CHECK(fault("(+ 9223372036854775807 1)") == "1: the result of '+' is too large");
  CHECK(fault("(* 9223372036854775807 2)") == "1: the result of '*' is too large");
  CHECK(fault("(/ 1 0)") == "6: cannot divide by zero");
  CHECK(fault("(% 1 0)") == "6: cannot divide by zero");
  CHECK(fault("(+ 1)") == "1: '+' takes 2 or more arguments, not 1");
  CHECK(fault("99999999999999999999") == "1: the number is too large");
}

TEST_CASE("define, set, let and lambda", "[stitch][eval]") {
  CHECK(value("(let ((a 1) (b (+ a 1))) (+ a b))") == "3");
  CHECK(value("(let ((a 1)))") == "(list)");
  CHECK(value("((lambda (a b) (- a b)) 5 3)") == "2");
  CHECK(value("(progn (define (f a) (* a 2)) (f 4))") == "8");
  CHECK(value("(progn (define x 1) (set x 2) x)") == "2");
  // A function keeps what was defined when it was made.
  CHECK(value("(progn (define x 1) (define (f) x) (set x 2) (f))") == "1");
  CHECK(value("(let ((x 1)) (let ((x 2)) x))") == "2");
  CHECK(value("(let ((x 1)) (define y 2) (+ x y))") == "3");
  CHECK(fault("(define a 1) (define a 2)") ==
        "24: cannot define 'a': it is defined already (set changes it)");
  CHECK(fault("(set a 1)") == "6: cannot set 'a': it is not defined in this scope");
  CHECK(fault("(define a 1) (let ((b 1)) (set a 2))") ==
        "32: cannot set 'a': it is not defined in this scope");
  CHECK(fault("(define (f) (f)) (f)") == "14: unknown name 'f'");  // no recursion
  CHECK(fault("(define (f a) a) (f)") == "18: 'f' takes 1 argument, not 0");
  CHECK(fault("((lambda (a b) a) 1)") == "1: the lambda takes 2 arguments, not 1");
  CHECK(fault("(define 1 2)") == "9: 'define' takes a name, or (name parameter…)");
  CHECK(fault("(define a 1 2)") == "1: 'define' takes a name and one value");
  CHECK(fault("(lambda (1) 2)") == "10: a parameter is a name");
  CHECK(fault("(let (a) a)") == "7: 'let' takes pairs: (name value)");
  CHECK(fault("(1 2)") == "1: a form begins with a function, not an integer: 1");
  CHECK(fault("()") == "1: a form begins with a function: '()' has none (write (list))");
  CHECK(fault("(machin)") == "2: unknown name 'machin' (did you mean 'machine'?)");
  CHECK(fault("(a") == "1: unbalanced parenthesis: this one isn't closed");
  CHECK(fault("a)") == "2: unbalanced parenthesis: ')' closes nothing");
}

TEST_CASE("conditions evaluate what they need", "[stitch][eval]") {
  CHECK(value("(if 1 \"a\" (panic \"no\"))") == "a");
  CHECK(value("(if (list) 1)") == "(list)");
  CHECK(value("(list (and 1 \"\" (panic \"no\")) (and 1 2) (or 0 2 (panic \"no\")) (or 0 \"\"))") ==
        "(list false true true false)");
  CHECK(fault("(if 1)") == "1: 'if' takes 2 to 3 arguments, not 1");
  CHECK(fault("(map and (list 1))") == "1: 'and' can't be passed as a function");
}

TEST_CASE("lists", "[stitch][eval]") {
  CHECK(value("(cons 1 (list 2 3))") == "(list 1 2 3)");
  CHECK(value("(list (car (list 1 2)) (cdr (list 1 2)) (nth 1 (list 1 2)) (len (list 1 2)))") ==
        "(list 1 (list 2) 2 2)");
  CHECK(value("(append (list 1) 2 (list 3))") == "(list 1 2 (list 3))");
  CHECK(value("(map (lambda (x y) (+ x y)) (list 1 2) (list 10 20))") == "(list 11 22)");
  CHECK(value("(map len (list (list) (list 1)))") == "(list 0 1)");
  CHECK(value("(reduce - (list 10 1 2))") == "7");
  CHECK(value("(apply + (list 1 2 3))") == "6");
  CHECK(value("(list (range 3) (range 1 3) (range 1 8 3) (range 3 1))") ==
        "(list (list 0 1 2) (list 1 2) (list 1 4 7) (list))");
  CHECK(value("(makeList 2 (list 1))") == "(list (list 1) (list 1))");
  CHECK(fault("(car (list))") == "6: 'car' takes a list with something in it: this one is empty");
  CHECK(fault("(cdr 1)") == "6: 'cdr' takes a list here, not an integer: 1");
  CHECK(fault("(nth 2 (list 1 2))") == "6: there is no item 2 in a list of 2 (the first is 0)");
  CHECK(fault("(map + (list 1) (list 1 2))") ==
        "17: 'map' takes lists of one length: this one has 2, the first 1");
  CHECK(fault("(reduce + (list 1))") == "11: 'reduce' takes a list of two or more: this one has 1");
  CHECK(fault("(range 1 2 0)") == "12: the step of a range is 1 or more, not 0");
  CHECK(fault("(makeList (- 0 1) 1)") == "11: 'makeList' takes a number of times, not an integer: -1");
  CHECK(fault("(map 1 (list 1))") == "1: a function is needed here, not an integer: 1");
}

TEST_CASE("hmaps keep their order and are never changed", "[stitch][eval]") {
  CHECK(value("(hmap (\"b\" 1) (\"a\" 2))") == "(hmap (\"b\" 1) (\"a\" 2))");
  CHECK(value("(let ((m (hmap (1 2))) (n (hmapSet m 1 3))) (list (hmapGet m 1) (hmapGet n 1)))") ==
        "(list 2 3)");
  CHECK(value("(let ((m (hmap (1 2) (3 4)))) (list (hmapKeys m) (hmapValues m) (hmapContains m 3) "
              "(hmapContains m 4)))") == "(list (list 1 3) (list 2 4) true false)");
  CHECK(fault("(hmapGet (hmap (\"a\" 1)) \"b\")") == "25: the hmap has no key \"b\" (it has \"a\")");
  CHECK(fault("(hmap ((list) 1))") == "8: a list can't be a key of an hmap");
  CHECK(fault("(hmap (1))") == "7: 'hmap' takes pairs: (name value)");
}

TEST_CASE("sprintf has Go's verbs", "[stitch][eval]") {
  CHECK(value("(sprintf \"%s-%d %v %t %f %%\" \"a\" 7 (list 1 \"x\") true 1.5)") ==
        "a-7 (list 1 \"x\") true 1.500000 %");
  CHECK(value("(sprintf \"[%5d|%-5d|%05d|%+d|%.2f|%x|%3s|%-3s|%q]\" 42 42 (- 0 42) 42 1.005 255 \"a\" \"a\" "
              "\"q\")") == "[   42|42   |-0042|+42|1.00|ff|  a|a  |\"q\"]");
  CHECK(value("(sprintf \"%s\" 5)") == "5");
  CHECK(fault("(sprintf \"%d\" \"a\")") == "15: %d writes an integer, not a string: \"a\"");
  CHECK(fault("(sprintf \"%d\")") == "1: the format has a %d more than there are values");
  CHECK(fault("(sprintf \"a\" 1)") == "14: the format has no verb for this value");
  CHECK(fault("(sprintf \"%y\" 1)") ==
        "10: the format has a verb '%y': there are %s %v %d %x %t %f %q and %%");
  CHECK(fault("(sprintf \"%\")") == "10: the format ends within a verb");
  CHECK(fault("(sprintf \"%9999999d\" 1)") == "10: a width in the format is beyond 1000");
}

TEST_CASE("log and panic", "[stitch][eval]") {
  std::vector<std::string> said;
  Options options = quiet();
  options.log = [&](Level level, const std::string& text) {
    said.push_back(std::to_string(static_cast<int>(level)) + text);
  };
  evaluate("(map (lambda (l) (log l l)) (list \"print\" \"debug\" \"info\" \"warn\" \"error\"))", "t.spec",
           options);
  CHECK(said == std::vector<std::string>{"2print", "3debug", "2info", "1warn", "0error"});
  CHECK(fault("(log \"loud\" \"a\")") ==
        "6: a level of the log is print, debug, info, warn or error, not 'loud'");
  CHECK(fault("(panic \"no\nway\")") == "8: the string doesn't end in its line: '\"' is missing");
  CHECK(fault("(panic \"no way\")") == "1: panic: no way");
}

TEST_CASE("modules export what begins with a capital", "[stitch][eval]") {
  CHECK(
      value(
          "(progn (module \"m\" (define b 2) (define (Add x) (+ x b)) (define C 5)) (list (m.Add 1) m.C))") ==
      "(list 3 5)");
  CHECK(fault("(module \"m\" (define b 2)) m.b") == "27: unknown name 'm.b'");
  CHECK(fault("(define x 1) (module \"m\" (define Y x))") ==
        "36: unknown name 'x'");  // a module sees only itself
  CHECK(fault("(define x 1) (import \"strings\")") ==
        "14: imports stand at the top of a file, before everything else");
  CHECK(fault("(list (import \"strings\"))") ==
        "7: imports stand at the top of a file, before everything else");
  CHECK_THAT(fault("(import \"no/such\")"),
             StartsWith("9: cannot import 'no/such': there is no such spec beside this file"));
  for (const char* path : {"../a", "/etc/a", "a//b", ".a", "a.spec", "", "-a", "a b"}) {
    INFO(path);
    CHECK_THAT(fault(std::string("(import \"") + path + "\")"),
               Contains("a path is made of names separated by '/'"));
  }
}

TEST_CASE("a builtin's name can be defined, and still called", "[stitch][eval]") {
  Deployment deployment =
      run("(define githubKey \"me\") (machine (role \"Master\")) (machine (githubKey \"you\"))");
  CHECK(deployment.machines[0].github_keys == std::vector<std::string>{"me"});
  CHECK(deployment.machines[1].github_keys == std::vector<std::string>{"you"});
  deployment = run("(define sshkey \"ssh-ed25519 AAAA me\") (machine)");
  CHECK(deployment.machines[0].ssh_keys == std::vector<std::string>{"ssh-ed25519 AAAA me"});
  CHECK(value("(let ((list 1)) (list list 2))") == "(list 1 2)");
  CHECK(value("(let ((car (lambda (x) x))) (car 5))") == "5");
}

TEST_CASE("an error says which calls led to it", "[stitch][eval]") {
  try {
    evaluate("(define (f x)\n  (+ x 1))\n(define (g x) (f x))\n(g \"a\")", "t.spec", quiet());
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.message() ==
          "t.spec:2:8: '+' takes a string here, not an integer: 1\n    (+ x 1))\n         ^\n"
          "  in 'f', called at t.spec:3:15\n  in 'g', called at t.spec:4:1");
  }
}

TEST_CASE("a hostile spec ends in an error", "[stitch][eval]") {
  Options options = quiet();
  options.limits = {.steps = 1'000'000, .memory = 16 << 20};
  auto says = [&](const std::string& text) {
    try {
      evaluate(text, "t.spec", options);
    } catch (const Error& e) {
      return e.message().substr(0, e.message().find('\n'));
    }
    return std::string("nothing");
  };
  CHECK_THAT(says("(range 100000000)"), Contains("the spec "));
  CHECK_THAT(says("(makeList 10000000 (docker \"a\"))"), Contains("of memory"));
  CHECK_THAT(says("(reduce (lambda (a b) (+ a a)) (cons \"xxxxxxxx\" (range 40)))"), Contains("of memory"));
  CHECK_THAT(says("(reduce (lambda (a b) (list a a)) (range 100)) (docker (reduce (lambda (a b) (list a a)) "
                  "(range 100)))"),
             Contains("the spec takes more than 1000000 steps"));
  CHECK_THAT(says("(docker (reduce (lambda (a b) (list a)) (range 1000)))"),
             Contains("the spec nests too deeply"));
  CHECK_THAT(says("(let ((f (lambda (g) (g g)))) (f f))"), Contains("the spec nests too deeply"));
  CHECK_THAT(says(std::string(100000, '(') + std::string(100000, ')')),
             Contains("the spec nests too deeply"));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "(list ";
  CHECK_THAT(says(deep + std::string(5000, ')')), Contains("the spec nests too deeply"));
  CHECK_THAT(
      says("(= (reduce (lambda (a b) (list a)) (range 1000)) (reduce (lambda (a b) (list a)) (range 1000)))"),
      Contains("the spec nests too deeply"));
  CHECK_THAT(says("(define l (map (lambda (i) (label (sprintf \"l%d\" i) (docker \"a\"))) (range 1000))) "
                  "(connect 1 l l)"),
             Contains("of memory"));
}
