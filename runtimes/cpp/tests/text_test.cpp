// Values as Python writes them.

#include "text/text.hpp"

#include <cmath>

#include "check.hpp"
#include "text/json.hpp"

TEST(numbers_like_python) {
  CHECK_EQUAL(deploykit::number_text(1e-5), "1e-05");
  CHECK_EQUAL(deploykit::number_text(0.0001), "0.0001");
  CHECK_EQUAL(deploykit::number_text(3), "3.0");
  CHECK_EQUAL(deploykit::number_text(-1234.5), "-1234.5");
  CHECK_EQUAL(deploykit::number_text(1e16), "1e+16");
  CHECK_EQUAL(deploykit::number_text(123456789012345680.0), "1.2345678901234568e+17");
  CHECK_EQUAL(deploykit::number_text(static_cast<double>(0.1F)), "0.10000000149011612");
  CHECK_EQUAL(deploykit::number_text(0), "0.0");
  CHECK_EQUAL(deploykit::short_number(0.25), "0.25");
  CHECK_EQUAL(deploykit::short_number(300), "300");
}

TEST(texts_like_python) {
  CHECK_EQUAL(deploykit::quoted("a"), "'a'");
  CHECK_EQUAL(deploykit::quoted("it's"), "\"it's\"");
  CHECK_EQUAL(deploykit::quoted("\"it's\"\n\x01"), "'\"it\\'s\"\\n\\x01'");
  CHECK_EQUAL(deploykit::words(" a  b\tc ").size(), 3U);
  CHECK_EQUAL(deploykit::split("a\n\nb", '\n').size(), 3U);
}

TEST(json_like_python) {
  deploykit::JsonWriter json;
  json.begin_object();
  json.member("text", "a\"\\\n\x02ü");
  json.member("nothing", NAN);
  json.key("empty");
  json.begin_array();
  json.end_array();
  json.key("numbers");
  json.begin_array();
  json.value(std::int64_t{1});
  json.value(0.5);
  json.end_array();
  json.end_object();
  CHECK_EQUAL(json.text(),
              "{\n  \"text\": \"a\\\"\\\\\\n\\u0002ü\",\n  \"nothing\": null,\n  \"empty\": [],\n  \"numbers\": [\n"
              "    1,\n    0.5\n  ]\n}");
}
