#include "tiff.hpp"

#include <algorithm>
#include <array>

#include <deploykit/error.hpp>

#ifdef DEPLOYKIT_TIFF
#include <tiffio.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#endif

namespace tool {

bool is_tiff(const std::vector<std::uint8_t>& file) {
  static constexpr std::array<std::array<std::uint8_t, 4>, 4> starts{
      {{'I', 'I', '*', 0}, {'M', 'M', 0, '*'}, {'I', 'I', '+', 0}, {'M', 'M', 0, '+'}}};
  return file.size() > 4 && std::any_of(starts.begin(), starts.end(), [&](const auto& start) {
           return std::equal(start.begin(), start.end(), file.begin());
         });
}

#ifndef DEPLOYKIT_TIFF

Image read_tiff(const std::string& path, const std::vector<std::uint8_t>&, std::int64_t wanted, bool) {
  throw deploykit::InputError("Image " + path + " is a TIFF file, and deploykit-run was built without libtiff.",
                              "Build it again with libtiff (Debian: libtiff-dev), or give a .npy file of a uint8 "
                              "array [H, W, " +
                                  std::to_string(wanted) + "].");
}

#else

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::int64_t kMostPixels = 89478485;  // as Pillow's limit

std::string& last_message() {
  static std::string text;
  return text;
}

void keep_message(const char*, const char* format, std::va_list arguments) {
  std::array<char, 256> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  if (last_message().empty()) last_message() = text.data();
}

// A file in memory, read only.
struct Source {
  const Bytes* bytes;
  std::uint64_t at = 0;
};

tmsize_t read_part(thandle_t handle, void* to, tmsize_t size) {
  auto* source = static_cast<Source*>(handle);
  const std::uint64_t left = source->bytes->size() - std::min<std::uint64_t>(source->at, source->bytes->size());
  const std::uint64_t count = std::min(left, static_cast<std::uint64_t>(std::max<tmsize_t>(size, 0)));
  if (count > 0) std::memcpy(to, source->bytes->data() + source->at, count);
  source->at += count;
  return static_cast<tmsize_t>(count);
}

tmsize_t write_nothing(thandle_t, void*, tmsize_t) { return 0; }

toff_t seek(thandle_t handle, toff_t to, int from) {
  auto* source = static_cast<Source*>(handle);
  const std::uint64_t start = from == SEEK_CUR ? source->at : from == SEEK_END ? source->bytes->size() : 0;
  source->at = start + to;
  return source->at;
}

int close_nothing(thandle_t) { return 0; }

toff_t size_of(thandle_t handle) { return static_cast<Source*>(handle)->bytes->size(); }

struct Page {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t samples = 0;
  std::int64_t bits = 0;
  bool planar = false;
  bool tiled = false;
};

class Reader {
 public:
  Reader(const std::string& path, const Bytes& file, std::int64_t wanted, bool opencv)
      : path_(path), source_{&file}, wanted_(wanted), opencv_(opencv), file_(nullptr, TIFFClose) {
    TIFFSetWarningHandler(nullptr);
    TIFFSetErrorHandler(keep_message);
    last_message().clear();
    file_.reset(TIFFClientOpen("image", "rm", &source_, read_part, write_nothing, seek, close_nothing, size_of,
                               nullptr, nullptr));
    if (file_ == nullptr) damaged();
  }

  Image read() {
    const std::int64_t pages = TIFFNumberOfDirectories(file_.get());
    Image image;
    image.channels = wanted_;
    if (pages > 1) {
      if (pages != wanted_) other_count(std::to_string(pages) + " pages");
      for (std::int64_t index = 0; index < pages; ++index) {
        if (TIFFSetDirectory(file_.get(), static_cast<tdir_t>(index)) == 0) damaged();
        const Page page = describe();
        const bool fits = index == 0 || (page.height == image.height && page.width == image.width);
        if (page.samples != 1 || !fits) {
          refuse("has pages that are not grey, or of several sizes; wanted one page per channel, all of one size.", "");
        }
        if (index == 0) prepare(image, page);
        fill(image, page, index);
      }
      return image;
    }
    const Page page = describe();
    if (page.samples != wanted_) other_count(std::to_string(page.samples));
    refuse_multiplied(page);
    prepare(image, page);
    fill(image, page, 0);
    return image;
  }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& hint) const {
    throw deploykit::InputError("Image " + path_ + " " + what, hint);
  }

  [[noreturn]] void damaged() const {
    const std::string& said = last_message();
    refuse("is damaged or truncated.", said.empty() ? "" : "libtiff says: " + said + ".");
  }

  [[noreturn]] void other_count(const std::string& found) const {
    const std::string count = std::to_string(wanted_);
    throw deploykit::InputError("The model takes images of " + count + " channels, Image " + path_ + " has " + found +
                                    ".",
                                "Give a .npy file of a uint8 array [H, W, " + count + "], or a TIFF file of " + count +
                                    " channels or grey pages.");
  }

  template <class T>
  T tag(std::uint32_t number, T otherwise) const {
    T value = otherwise;
    return TIFFGetFieldDefaulted(file_.get(), number, &value) == 1 ? value : otherwise;
  }

  // Refuses what is not numbers of 8 bits as they are.
  Page describe() const {
    Page page;
    page.height = tag<std::uint32_t>(TIFFTAG_IMAGELENGTH, 0);
    page.width = tag<std::uint32_t>(TIFFTAG_IMAGEWIDTH, 0);
    page.samples = tag<std::uint16_t>(TIFFTAG_SAMPLESPERPIXEL, 1);
    page.bits = tag<std::uint16_t>(TIFFTAG_BITSPERSAMPLE, 1);
    page.planar = tag<std::uint16_t>(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
    page.tiled = TIFFIsTiled(file_.get()) != 0;
    if (page.height < 1 || page.width < 1 || page.samples < 1) damaged();
    if (page.height > kMostPixels / page.width) {
      refuse("has more pixels than the limit of " + std::to_string(kMostPixels) + ".", "");
    }
    const auto colours = tag<std::uint16_t>(TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    if (colours != PHOTOMETRIC_MINISBLACK && colours != PHOTOMETRIC_RGB) {
      refuse("does not hold its channels as they are (photometric interpretation " + std::to_string(colours) + ").",
             "Give a .npy file of a uint8 array [H, W, " + std::to_string(wanted_) + "].");
    }
    const bool whole = tag<std::uint16_t>(TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT) == SAMPLEFORMAT_UINT;
    if (!whole || !(page.bits == 8 || (page.bits == 16 && opencv_))) {
      refuse("holds " + std::string(whole ? "" : "signed or floating-point ") + "values of " +
                 std::to_string(page.bits) + " bits; wanted 8 bits per channel.",
             "Scale the pixels to 0..255 as the training did, and give them as a .npy file.");
    }
    return page;
  }

  void refuse_multiplied(const Page& page) const {
    const auto colours = tag<std::uint16_t>(TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    if (!opencv_ || page.samples != 4 || colours != PHOTOMETRIC_RGB) return;
    refuse("is a TIFF file of RGB and one more channel, which OpenCV multiplies the colours by.",
           "Store 4 grey pages, as Ultralytics wants them, or an array (.npy).");
  }

  void prepare(Image& image, const Page& page) const {
    image.height = page.height;
    image.width = page.width;
    image.pixels.resize(static_cast<std::size_t>(page.height * page.width * wanted_));
  }

  // Writes the samples of a page into the channels from `first` on.
  void fill(Image& image, const Page& page, std::int64_t first) const {
    const std::int64_t planes = page.planar ? page.samples : 1;
    const std::int64_t together = page.planar ? 1 : page.samples;
    for (std::int64_t plane = 0; plane < planes; ++plane) {
      if (page.tiled) {
        fill_tiles(image, page, plane, together, first + plane);
      } else {
        fill_rows(image, page, plane, together, first + plane);
      }
    }
  }

  void fill_rows(Image& image, const Page& page, std::int64_t plane, std::int64_t together,
                 std::int64_t channel) const {
    const tmsize_t length = TIFFScanlineSize(file_.get());
    if (length < page.width * together * page.bits / 8) damaged();
    Bytes row(static_cast<std::size_t>(length));
    for (std::int64_t y = 0; y < page.height; ++y) {
      if (TIFFReadScanline(file_.get(), row.data(), static_cast<std::uint32_t>(y), static_cast<std::uint16_t>(plane)) < 0) {
        damaged();
      }
      copy(image, page, row.data(), {y, 0, page.width, together, channel});
    }
  }

  void fill_tiles(Image& image, const Page& page, std::int64_t plane, std::int64_t together,
                  std::int64_t channel) const {
    const std::int64_t high = tag<std::uint32_t>(TIFFTAG_TILELENGTH, 0);
    const std::int64_t wide = tag<std::uint32_t>(TIFFTAG_TILEWIDTH, 0);
    const tmsize_t length = TIFFTileSize(file_.get());
    const std::int64_t row = wide * together * page.bits / 8;
    if (high < 1 || wide < 1 || high > kMostPixels / wide || length < high * row) damaged();
    Bytes tile(static_cast<std::size_t>(length));
    for (std::int64_t top = 0; top < page.height; top += high) {
      for (std::int64_t left = 0; left < page.width; left += wide) {
        if (TIFFReadTile(file_.get(), tile.data(), static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(top), 0,
                         static_cast<std::uint16_t>(plane)) < 0) {
          damaged();
        }
        for (std::int64_t y = top; y < std::min(top + high, page.height); ++y) {
          copy(image, page, tile.data() + (y - top) * row,
               {y, left, std::min(wide, page.width - left), together, channel});
        }
      }
    }
  }

  struct Run {
    std::int64_t y;
    std::int64_t x;
    std::int64_t count;
    std::int64_t together;
    std::int64_t channel;
  };

  // Pixels of a row; of 16 bits, which libtiff brings into the order of this machine, the upper byte.
  void copy(Image& image, const Page& page, const std::uint8_t* from, const Run& run) const {
    for (std::int64_t x = 0; x < run.count; ++x) {
      std::uint8_t* to = image.pixels.data() + ((run.y * page.width + run.x + x) * wanted_ + run.channel);
      for (std::int64_t s = 0; s < run.together; ++s) {
        const std::int64_t place = x * run.together + s;
        if (page.bits == 8) {
          to[s] = from[place];
        } else {
          std::uint16_t value = 0;
          std::memcpy(&value, from + 2 * place, 2);
          to[s] = static_cast<std::uint8_t>(value >> 8);
        }
      }
    }
  }

  const std::string& path_;
  Source source_;
  std::int64_t wanted_;
  bool opencv_;
  std::unique_ptr<TIFF, void (*)(TIFF*)> file_;
};

}  // namespace

Image read_tiff(const std::string& path, const Bytes& file, std::int64_t wanted, bool opencv) {
  return Reader(path, file, wanted, opencv).read();
}

#endif

}  // namespace tool
