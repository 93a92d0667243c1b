#include "machine/elf.hpp"

#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace deploykit {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTable = 1 << 24;

template <class T>
std::vector<T> read_at(std::ifstream& file, std::uint64_t offset, std::uint64_t count) {
  if (count * sizeof(T) > kMaxTable) return {};
  std::vector<T> items(static_cast<std::size_t>(count));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(items.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) items.clear();
  return items;
}

// Where an address of the loaded library is in the file.
std::uint64_t offset_of(const std::vector<Elf64_Phdr>& segments, std::uint64_t address) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz) {
      return address - segment.p_vaddr + segment.p_offset;
    }
  }
  return 0;
}

bool loads(const std::string& library, int mode) { return dlopen(library.c_str(), RTLD_LAZY | mode) != nullptr; }

}  // namespace

std::vector<std::string> needed_libraries(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const auto header = read_at<Elf64_Ehdr>(file, 0, 1);
  if (header.empty() || std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) != 0 ||
      header[0].e_ident[EI_CLASS] != ELFCLASS64) {
    return {};
  }
  const auto segments = read_at<Elf64_Phdr>(file, header[0].e_phoff, header[0].e_phnum);
  std::vector<std::uint64_t> names;
  std::uint64_t table = 0;
  std::uint64_t size = 0;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_DYNAMIC) continue;
    for (const Elf64_Dyn& entry : read_at<Elf64_Dyn>(file, segment.p_offset, segment.p_filesz / sizeof(Elf64_Dyn))) {
      if (entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_NEEDED) names.push_back(entry.d_un.d_val);
      if (entry.d_tag == DT_STRTAB) table = entry.d_un.d_ptr;
      if (entry.d_tag == DT_STRSZ) size = entry.d_un.d_val;
    }
  }
  const auto texts = read_at<char>(file, offset_of(segments, table), size);
  std::vector<std::string> found;
  for (const std::uint64_t name : names) {
    if (name >= texts.size()) continue;
    const std::string rest(texts.begin() + static_cast<std::ptrdiff_t>(name), texts.end());
    found.emplace_back(rest.c_str());
  }
  return found;
}

std::string find_in_wheels(const std::string& ort_folder, const std::string& library) {
  // The library of ONNX Runtime's wheel is site-packages/onnxruntime/capi/libonnxruntime.so.
  const fs::path site = fs::path(ort_folder).parent_path().parent_path();
  std::error_code error;
  std::vector<fs::path> folders{site / "tensorrt_libs"};
  for (const auto& entry : fs::directory_iterator(site / "nvidia", error)) folders.push_back(entry.path() / "lib");
  for (const fs::path& folder : folders) {
    if (fs::is_regular_file(folder / library, error)) return (folder / library).string();
  }
  return "";
}

std::vector<std::string> missing_libraries(const std::string& ort_folder, const std::string& library) {
  std::vector<std::string> missing;
  std::error_code error;
  for (const std::string& name : needed_libraries((fs::path(ort_folder) / library).string())) {
    if (fs::is_regular_file(fs::path(ort_folder) / name, error) || loads(name, RTLD_LOCAL)) continue;
    const std::string wheel = find_in_wheels(ort_folder, name);
    // Loaded for the process, so that the provider, which asks for it by name, gets this one.
    if (wheel.empty() || !loads(wheel, RTLD_GLOBAL)) missing.push_back(name);
  }
  return missing;
}

}  // namespace deploykit
