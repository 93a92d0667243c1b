#include "selftest/cases.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "selftest/keys.hpp"
#include "text/text.hpp"

namespace deploykit::selftest {
namespace {

constexpr std::int64_t kCases = 16;
constexpr std::int64_t kProbes = 32;  // outputs and slices of outputs of a case
constexpr std::int64_t kPictures = 16;
constexpr std::int64_t kPictureSide = 1024;
constexpr std::int64_t kSide = 16384;
constexpr std::int64_t kBatch = 1024;
constexpr std::int64_t kSoftest = 7;
constexpr std::int64_t kColumns = 4096;
constexpr std::int64_t kPixels = 1 << 24;  // of all images of a case
constexpr std::int64_t kIndex = 2147483647;

using Pictures = std::vector<std::shared_ptr<const Picture>>;

bool within(std::int64_t value, std::int64_t least, std::int64_t most) { return least <= value && value <= most; }

std::shared_ptr<const Picture> read_picture(const Keys& keys, const std::string& key) {
  const auto items = words(keys.text(key));
  std::vector<std::int64_t> sides;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, items.size()); ++i) {
    const auto side = whole_number(items[i]);
    if (side && within(*side, 1, kPictureSide)) sides.push_back(*side);
  }
  if (items.size() != 4 || sides.size() != 3) keys.refuse(key, "'HEIGHT WIDTH CHANNELS BASE64'", false);
  auto picture = std::make_shared<Picture>();
  picture->height = sides[0];
  picture->width = sides[1];
  picture->channels = sides[2];
  picture->pixels = keys.decoded(items[3], key);
  const std::int64_t bytes = sides[0] * sides[1] * sides[2];
  if (static_cast<std::int64_t>(picture->pixels.size()) != bytes) {
    keys.refuse(key, std::to_string(bytes) + " bytes", false);
  }
  return picture;
}

KeptValues read_values(const Keys& keys, const std::string& prefix, std::int64_t batch) {
  KeptValues kept;
  const auto images = static_cast<std::size_t>(batch);
  const auto slice = keys.integers(prefix + "slice", 3, -1, kIndex);
  kept.part.axis = slice[0];
  kept.part.start = slice[1];
  kept.part.stop = slice[2];
  kept.part.log = keys.integer(prefix + "log", 0, 1) == 1;
  kept.part.best = keys.has(prefix + "best");
  if (kept.part.best) {
    kept.best = keys.integers(prefix + "best", images, 0, kIndex);
    kept.margins = keys.floats(prefix + "margins");
    if (kept.margins.size() != images) keys.refuse(prefix + "margins", std::to_string(batch) + " values", false);
  }
  kept.part.output = keys.text(prefix + "output");
  kept.samples = keys.floats(prefix + "samples");
  kept.means = keys.floats(prefix + "means");
  kept.tolerances = keys.tolerances(prefix, 2);
  return kept;
}

KeptRows read_rows(const Keys& keys, const std::string& prefix, std::int64_t batch) {
  KeptRows kept;
  const auto columns = keys.integers(prefix + "columns", 2, 0, kColumns);
  kept.box = columns[0];
  kept.extra = columns[1];
  kept.rows = keys.floats(prefix + "rows");
  if (kept.rows.size() % kept.width() != 0) {
    keys.refuse(prefix + "rows", "rows of " + std::to_string(kept.width()) + " values", false);
  }
  kept.cuts = keys.floats(prefix + "cuts");
  if (kept.cuts.size() != static_cast<std::size_t>(batch)) {
    keys.refuse(prefix + "cuts", std::to_string(batch) + " values", false);
  }
  kept.tolerances = keys.tolerances(prefix, 3);
  return kept;
}

Kept read_kept(const Keys& keys, const std::string& prefix, std::int64_t batch) {
  const std::string& kind = keys.text(prefix + "kind");
  if (kind == "values") return read_values(keys, prefix, batch);
  if (kind == "rows") return read_rows(keys, prefix, batch);
  keys.refuse(prefix + "kind", "'values' or 'rows'");
}

Case read_case(const Keys& keys, const std::string& prefix, const Pictures& pictures) {
  const std::string key = prefix + "images";
  const auto items = words(keys.text(key));
  std::vector<std::int64_t> numbers;
  const bool known = items.size() == 7 && (items[0] == "noise" || items[0] == "picture") &&
                     (items[5] == "image" || items[5] == "tensor");
  for (const std::size_t i : std::array<std::size_t, 5>{1, 2, 3, 4, 6}) {
    const auto value = known ? whole_number(items[i]) : std::nullopt;
    if (!value) keys.refuse(key, "'noise|picture NUMBER BATCH HEIGHT WIDTH image|tensor HALVINGS'");
    numbers.push_back(*value);
  }
  Case found;
  const std::int64_t number = numbers[0];
  found.batch = numbers[1];
  found.height = numbers[2];
  found.width = numbers[3];
  found.soft = numbers[4];
  found.stage = items[5] == "image" ? Stage::image : Stage::tensor;
  const bool stored = items[0] == "picture";
  bool fits = within(found.batch, 1, kBatch) && within(found.height, 1, kSide) && within(found.width, 1, kSide) &&
              within(found.soft, 0, kSoftest) && number >= 0;
  fits = fits && found.batch * found.height * found.width <= kPixels;
  fits = fits && (!stored || number < static_cast<std::int64_t>(pictures.size()));
  if (!fits) keys.refuse(key, "numbers in their ranges");
  if (stored) {
    found.picture = pictures[static_cast<std::size_t>(number)];
  } else {
    found.seed = static_cast<std::uint64_t>(number);
  }
  const std::int64_t outputs = keys.integer(prefix + "outputs", 0, kProbes);
  for (std::int64_t i = 0; i < outputs; ++i) {
    found.kept.push_back(read_kept(keys, prefix + std::to_string(i) + ".", found.batch));
  }
  return found;
}

}  // namespace

std::string KeptValues::name() const {
  if (part.axis < 0) return part.output;
  return part.output + "[" + std::to_string(part.start) + ":" + std::to_string(part.stop) + "]";
}

std::string name_of(const Kept& kept) {
  return std::visit([](const auto& each) { return each.name(); }, kept);
}

const Tolerances& tolerances_of(const Kept& kept) {
  return std::visit([](const auto& each) -> const Tolerances& { return each.tolerances; }, kept);
}

std::string Case::title() const {
  const std::string name = picture == nullptr ? "noise" : stage == Stage::image ? "photo" : "photo tensor";
  const std::string size = std::to_string(batch) + "x" + std::to_string(height) + "x" + std::to_string(width);
  return name + " " + size + (soft == 0 ? "" : " /" + std::to_string(1 << soft));
}

std::vector<Case> cases_from_keys(const std::map<std::string, std::string>& metadata) {
  const Keys keys(metadata);
  std::vector<Case> cases;
  if (!keys.has("cases")) return cases;
  const std::int64_t count = keys.integer("cases", 0, kCases);
  const std::int64_t stored = keys.integer("pictures", 0, kPictures);
  Pictures pictures;
  for (std::int64_t i = 0; i < stored; ++i) pictures.push_back(read_picture(keys, "picture." + std::to_string(i)));
  for (std::int64_t i = 0; i < count; ++i) cases.push_back(read_case(keys, std::to_string(i) + ".", pictures));
  return cases;
}

}  // namespace deploykit::selftest
