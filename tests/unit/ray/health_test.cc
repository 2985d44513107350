#include "ray/health.h"

#include <catch2/catch.hpp>

using namespace rayctl::ray;

TEST_CASE("an answer is read by length, chunked, or to the end") {
  CHECK(parse_http_answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess").body == "success");
  CHECK(parse_http_answer("HTTP/1.0 503 x\r\n\r\nno").status == 503);
  HttpAnswer chunked = parse_http_answer(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsuc\r\n4;x=y\r\ncess\r\n0\r\n\r\n");
  CHECK(chunked.status == 200);
  CHECK(chunked.body == "success");
}

TEST_CASE("half an answer is none") {
  for (const char* bytes :
       {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsuccess", "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsuc", "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nsuc\r\n"}) {
    HttpAnswer answer = parse_http_answer(bytes);
    CHECK(answer.status == 0);
    CHECK_FALSE(answer.error.empty());
  }
}

TEST_CASE("one success makes Ray healthy, three failures make it unhealthy") {
  using Verdict = HealthJudge::Verdict;
  HealthJudge judge;
  for (int i = 0; i < 10; ++i) CHECK(judge.judge(false) == Verdict::starting);
  CHECK(judge.interval() == std::chrono::milliseconds(250));
  CHECK(judge.judge(true) == Verdict::healthy);
  CHECK(judge.judge(false) == Verdict::healthy);
  CHECK(judge.judge(false) == Verdict::healthy);
  CHECK(judge.judge(false) == Verdict::unhealthy);
  CHECK(judge.judge(true) == Verdict::healthy);
}
