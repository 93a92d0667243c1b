#include "literal.hpp"

#include "check.hpp"
#include "deploykit/error.hpp"

using deploykit::Literal;
using deploykit::parse_literal;

TEST(python_literals) {
  CHECK_EQUAL(parse_literal("stride", " 32 ").number, 32);
  CHECK_EQUAL(parse_literal("imgsz", "[640, 480]").list.at(1), 480);
  CHECK_EQUAL(parse_literal("kpt_shape", "(17, 3,)").list.size(), 2U);
  const Literal names = parse_literal("names", R"({0: 'person', 1: "it's", 12: 'a\'b\n\x41'})");
  CHECK_EQUAL(names.dict.at(1), "it's");
  CHECK_EQUAL(names.dict.at(12), "a'b\nA");
}

TEST(what_is_no_literal) {
  for (const char* text : {"", "{", "{0: }", "{0 'a'}", "[1, 'a']", "1 2", "'open", "__import__('os')", "[1, 2",
                           "'\\x4'", "99999999999999999999"}) {
    CHECK_THROWS(parse_literal("names", text), deploykit::ModelError);
  }
}
