#include "text/literal.hpp"

#include "check.hpp"
#include "deploykit/error.hpp"

using deploykit::Literal;
using deploykit::parse_literal;

TEST(python_literals) {
  CHECK_EQUAL(parse_literal("stride", " 32 ").number, 32);
  CHECK_EQUAL(parse_literal("imgsz", "[640, 480]").items.at(1).number, 480);
  CHECK_EQUAL(parse_literal("kpt_shape", "(17, 3,)").items.size(), 2U);
  CHECK_EQUAL(parse_literal("stride", "(32)").number, 32);
  const Literal names = parse_literal("names", R"({0: 'person', 1: "it's", 12: 'a\'b\n\x41\u00e9\U0001F600'})");
  CHECK_EQUAL(names.keys.at(2).number, 12);
  CHECK_EQUAL(names.items.at(1).text, "it's");
  CHECK_EQUAL(names.items.at(2).text, "a'b\nA\xc3\xa9\xf0\x9f\x98\x80");
  const Literal arguments = parse_literal("args", "{'nms': True, 'conf': 0.25, 'data': None, 'x': [1, {'y': (2,)}]}");
  CHECK(arguments.find("nms")->boolean);
  CHECK_EQUAL(arguments.find("conf")->text, "0.25");
  CHECK(arguments.find("data")->is(Literal::Kind::none));
  CHECK(arguments.find("half") == nullptr);
  CHECK_EQUAL(parse_literal("x", "1e3").text, "1000.0");
}

TEST(what_is_no_literal) {
  for (const char* text : {"", "{", "{0: }", "{0 'a'}", "yes", "nan", "-inf", "True False", "1 2", "'open", "__import__('os')", "[1, 2",
                           "'\\x4'", "'\\u12'", "'\\UFFFFFFFF'", "99999999999999999999"}) {
    CHECK_THROWS(parse_literal("names", text), deploykit::ModelError);
  }
  CHECK_THROWS(parse_literal("names", std::string(100000, '[')), deploykit::ModelError);
}
