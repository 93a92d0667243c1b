#include "selftest/compare.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "deploykit/error.hpp"
#include "selftest/measure.hpp"

namespace deploykit::selftest {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNear = 2.0;     // scores this many tolerances from a cut may fall on either side
constexpr double kAnother = 20;   // a coordinate off by a larger part than this of the largest one is another object's
constexpr double kReduced = 0.9;  // share of answers that must agree below float32

using Row = std::vector<double>;
using Table = std::vector<Row>;

// What was found of each part, and how many answers agree.
struct Found {
  std::vector<double> gaps;
  std::int64_t agreed = 0;
  std::int64_t answers = 0;
};

double share(double found, double allowed) {
  if (!std::isfinite(found)) return kInfinity;
  if (allowed != 0) return found / allowed;
  return found == 0 ? 0.0 : kInfinity;
}

// The larger one; NaN is the largest of all.
double larger(double a, double b) { return std::isnan(a) || std::isnan(b) ? kInfinity : std::max(a, b); }

double largest(const std::vector<float>& values, std::size_t start, std::size_t count, std::size_t step) {
  double found = 0;
  for (std::size_t row = start; row < values.size(); row += step) {
    for (std::size_t i = row; i < row + count; ++i) {
      if (std::isfinite(values[i])) found = std::max(found, static_cast<double>(std::fabs(values[i])));
    }
  }
  return found;
}

// The largest difference; infinite where one is not finite and the other is not the same.
double gap(const std::vector<float>& expected, const std::vector<double>& found) {
  if (expected.size() != found.size()) return kInfinity;
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto wanted = static_cast<double>(expected[i]);
    if (wanted == found[i] || (std::isnan(wanted) && std::isnan(found[i]))) continue;
    worst = larger(worst, std::fabs(wanted - found[i]));
  }
  return worst;
}

// The first of the largest values, where NaN is the largest.
std::size_t best_of(const double* values, std::size_t count) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

Found of_values(const std::vector<Tensor>& outputs, const KeptValues& kept, const std::vector<double>& tolerances) {
  const Values values = sliced(outputs, kept.part);
  const std::vector<double>& flat = values.flat;
  std::vector<double> samples = flat;
  if (flat.size() >= kept.samples.size()) {
    const auto places =
        positions(static_cast<std::int64_t>(flat.size()), static_cast<std::int64_t>(kept.samples.size()));
    samples.clear();
    for (const std::int64_t place : places) samples.push_back(flat[static_cast<std::size_t>(place)]);
  }
  Found found{{gap(kept.samples, samples), gap(kept.means, means(values))}};
  if (!kept.part.best) return found;
  found.answers = static_cast<std::int64_t>(kept.best.size());
  if (values.images() != kept.best.size()) {
    found.gaps[0] = kInfinity;
    return found;
  }
  const std::size_t length = flat.size() / values.images();
  for (std::size_t image = 0; image < values.images(); ++image) {
    const auto best = static_cast<std::size_t>(kept.best[image]);
    if (best >= length) continue;
    // Where two are as close as an engine may be off, either may be the best.
    const bool same = best_of(flat.data() + image * length, length) == best;
    if (same || static_cast<double>(kept.margins[image]) <= kNear * tolerances[0]) ++found.agreed;
  }
  return found;
}

// How far a row is from its counterpart: score, box, extra.
using Off = std::array<double, 3>;

// The largest of a row's differences in columns start..stop; those of NaN are infinite.
double off_by(const Row& a, const Row& b, std::size_t start, std::size_t stop) {
  double worst = 0;
  for (std::size_t i = start; i < stop; ++i) worst = larger(worst, std::fabs(a[i] - b[i]));
  return worst;
}

// Of the rows of the same class the one whose box and score are nearest; nothing where that is another object.
std::optional<Off> nearest(const Row& row, const Table& rows, std::size_t box) {
  double size = 1;
  for (std::size_t i = 2; i < 2 + box; ++i) size = std::isnan(row[i]) ? kInfinity : std::max(size, std::fabs(row[i]));
  const Row* found = nullptr;
  double least = 0;
  for (const Row& other : rows) {
    if (other[0] != row[0]) continue;
    const double distance = off_by(row, other, 1, 2) + off_by(row, other, 2, 2 + box) / size;
    if (found != nullptr && !(distance < least)) continue;
    found = &other;
    least = distance;
  }
  if (found == nullptr) return std::nullopt;
  const double off = off_by(row, *found, 2, 2 + box);
  if (off > size / kAnother) return std::nullopt;
  return Off{off_by(row, *found, 1, 2), off, off_by(row, *found, 2 + box, row.size())};
}

// The kept rows of one image, without its number.
Table kept_of(const KeptRows& kept, std::size_t image) {
  Table rows;
  for (std::size_t start = 0; start < kept.rows.size(); start += kept.width()) {
    if (static_cast<double>(kept.rows[start]) != static_cast<double>(image)) continue;
    const auto first = kept.rows.begin() + static_cast<std::ptrdiff_t>(start);
    rows.emplace_back(first + 1, first + static_cast<std::ptrdiff_t>(kept.width()));
  }
  return rows;
}

// Every row that is clear of the cut must have its like on the other side.
Found of_rows(const std::vector<Tensor>& outputs, const KeptRows& kept, const Spec& spec,
              const std::vector<double>& tolerances) {
  const Rows rows = rows_of(outputs, spec);
  const auto box = static_cast<std::size_t>(kept.box);
  if (rows.box != box || rows.extra != static_cast<std::size_t>(kept.extra) || rows.images.size() != kept.cuts.size()) {
    const std::size_t answers = kept.rows.size() / kept.width();
    return {{kInfinity, kInfinity, kInfinity}, 0, static_cast<std::int64_t>(answers)};
  }
  Found found{{0, 0, 0}};
  for (std::size_t image = 0; image < kept.cuts.size(); ++image) {
    const Table wanted = kept_of(kept, image);
    const double clear = static_cast<double>(kept.cuts[image]) + kNear * tolerances[0];
    const auto compare = [&](const Table& one, const Table& other) {
      for (const Row& row : one) {
        if (row[1] <= clear) continue;  // NaN is not
        ++found.answers;
        const auto off = nearest(row, other, box);
        if (!off) continue;
        ++found.agreed;
        for (std::size_t part = 0; part < off->size(); ++part) {
          found.gaps[part] = larger(found.gaps[part], (*off)[part]);
        }
      }
    };
    compare(wanted, rows.images[image]);
    compare(rows.images[image], wanted);
  }
  found.gaps[1] = larger(found.gaps[1], upright_gap(outputs, spec, rows));
  return found;
}

// The report names the worst part.
Difference judged(const Found& found, const std::vector<double>& tolerances, const std::vector<const char*>& names,
                  const std::vector<double>& scales, bool enough) {
  std::vector<double> shares;
  for (std::size_t i = 0; i < found.gaps.size(); ++i) shares.push_back(share(found.gaps[i], tolerances[i]));
  const auto worst = static_cast<std::size_t>(std::max_element(shares.begin(), shares.end()) - shares.begin());
  Difference told;
  told.part = names[worst];
  told.found = found.gaps[worst];
  told.allowed = tolerances[worst];
  told.scale = scales[worst];
  told.agreed = found.agreed;
  told.answers = found.answers;
  told.ok = shares[worst] <= 1 && enough;
  return told;
}

Difference judge(const std::vector<Tensor>& outputs, const Kept& kept, const Spec& spec, const std::string& precision) {
  const std::vector<double>& tolerances = tolerances_of(kept).at(precision);
  if (const auto* values = std::get_if<KeptValues>(&kept)) {
    const Found found = of_values(outputs, *values, tolerances);
    const std::vector<double> scales{largest(values->samples, 0, 1, 1), largest(values->means, 0, 1, 1)};
    return judged(found, tolerances, {"sample", "mean"}, scales, found.agreed == found.answers);
  }
  const auto& rows = std::get<KeptRows>(kept);
  const Found found = of_rows(outputs, rows, spec, tolerances);
  const auto box = static_cast<std::size_t>(rows.box);
  const auto extra = static_cast<std::size_t>(rows.extra);
  const std::vector<double> scales{largest(rows.rows, 2, 1, rows.width()), largest(rows.rows, 3, box, rows.width()),
                                   largest(rows.rows, 3 + box, extra, rows.width())};
  const double needed = static_cast<double>(found.answers) * (precision == "fp32" ? 1 : kReduced);
  return judged(found, tolerances, {"score", "box", "extra"}, scales, static_cast<double>(found.agreed) >= needed);
}

}  // namespace

Difference difference(const std::vector<Tensor>& outputs, const Kept& kept, const Spec& spec,
                      const std::string& precision) {
  Difference found;
  try {
    found = judge(outputs, kept, spec, precision);
  } catch (const ModelError& error) {
    found.part = error.problem();
    found.found = kInfinity;
    found.ok = false;
  }
  found.output = name_of(kept);
  return found;
}

}  // namespace deploykit::selftest
