#include "arguments.hpp"

#include <charconv>
#include <functional>
#include <map>

namespace tool {

const char* const kUsage =
    R"(deploykit-run MODEL IMAGE...: the answers as one JSON document, as `deploykit predict --json` prints it
deploykit-run MODEL --self-test: the golden cases that the model file carries, on the engine

  --self-test       compare the engine with what the checkpoint answered; --json: as `deploykit selftest --json`
  --runtime NAME    ort-cpu (default), ort-cuda, ort-trt
  --top-k N         classes to name
  --conf P          lowest score of a detection
  --iou P           overlap above which a box is suppressed
  --max-det N       most detections per image
  --imgsz H[,W]     input size of a dynamic model
  --batch N         images per call of the engine
  --outputs NAME    what the outputs of another exporter's file mean, if it does not say: yolov5, end2end, ...
  --threads N       threads inside one operator
  --goal NAME       latency (default): all threads on one call; throughput: several calls side by side
  --precision NAME  model (default); auto: TF32 where the GPU is faster with it
  --cache DIR       folder for TensorRT engines; default: the user's cache folder
  --exact           run the file's own graph, node for node; default: an INT8 file may run in a faster form
  --cuda-graph      record and replay the GPU's work, per shape
  --strict          refuse a model of which a part runs elsewhere than asked for

Exit codes: 0 done, 2 wrong option, 3 the self-test failed, 5 model or no golden cases, 6 ONNX Runtime is missing, 7 device, 8 image.
)";

namespace {

template <class T>
T number(const std::string& option, const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) {
    throw deploykit::OptionError(option + " wants a number, found '" + text + "'.");
  }
  return value;
}

deploykit::Size size_of(const std::string& text) {
  const std::size_t comma = text.find_first_of(",x");
  const auto height = number<std::int64_t>("--imgsz", text.substr(0, comma));
  const bool square = comma == std::string::npos;
  return {height, square ? height : number<std::int64_t>("--imgsz", text.substr(comma + 1))};
}

std::string device_of(const std::string& runtime) {
  static const std::map<std::string, std::string> devices{
      {"ort-cpu", "cpu"}, {"ort-cuda", "cuda"}, {"ort-trt", "tensorrt"}};
  const auto found = devices.find(runtime);
  if (found != devices.end()) return found->second;
  throw deploykit::OptionError("Runtime '" + runtime + "' is not one of ort-cpu, ort-cuda, ort-trt.");
}

}  // namespace

Arguments parse(int argc, char** argv) {
  Arguments found;
  using Setter = std::function<void(const std::string&)>;
  const std::map<std::string, Setter> options{
      {"--runtime", [&](const std::string& text) { found.engine.device = device_of(text); }},
      {"--top-k", [&](const std::string& text) { found.predict.top_k = number<std::int64_t>("--top-k", text); }},
      {"--conf", [&](const std::string& text) { found.predict.conf = number<double>("--conf", text); }},
      {"--iou", [&](const std::string& text) { found.predict.iou = number<double>("--iou", text); }},
      {"--max-det", [&](const std::string& text) { found.predict.max_det = number<std::int64_t>("--max-det", text); }},
      {"--imgsz", [&](const std::string& text) { found.predict.imgsz = size_of(text); }},
      {"--batch", [&](const std::string& text) { found.predict.batch = number<std::int64_t>("--batch", text); }},
      {"--threads", [&](const std::string& text) { found.engine.threads = number<int>("--threads", text); }},
      {"--outputs", [&](const std::string& text) { found.engine.outputs = text; }},
      {"--goal", [&](const std::string& text) { found.engine.goal = text; }},
      {"--precision", [&](const std::string& text) { found.engine.precision = text; }},
      {"--cache", [&](const std::string& text) { found.engine.cache = text; }}};
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto option = options.find(word);
    if (word == "--help" || word == "-h") {
      found.help = true;
    } else if (word == "--strict") {
      found.engine.strict = true;
    } else if (word == "--exact") {
      found.engine.exact = true;
    } else if (word == "--cuda-graph") {
      found.engine.cuda_graph = true;
    } else if (word == "--self-test") {
      found.self_test = true;
    } else if (word == "--json") {
      found.json = true;  // answers have no other format: so that a line written for Python runs here
    } else if (option != options.end()) {
      if (++i == argc) throw deploykit::OptionError(word + " wants a value.");
      option->second(argv[i]);
    } else if (word.size() > 1 && word[0] == '-') {
      throw deploykit::OptionError("No such option: " + word + ". --help lists them.");
    } else {
      names.push_back(word);
    }
  }
  if (found.help) return found;
  if (found.self_test && names.size() != 1) {
    throw deploykit::OptionError("--self-test wants a model and nothing else, found " + std::to_string(names.size()) +
                                 " names.");
  }
  if (!found.self_test && names.size() < 2)
    throw deploykit::OptionError("Wanted a model and an image. --help tells more.");
  found.model = names.front();
  found.images.assign(names.begin() + 1, names.end());
  return found;
}

}  // namespace tool
