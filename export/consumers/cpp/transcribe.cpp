// Transcribe in C++: transcribe BUNDLE [--precision int8] [--partial] FILE…
//
// Takes WAV files of 16 bits, mono; prints one JSON object per file. Of a bundle of the profile `streaming` it feeds
// each file in tenths of a second, and prints with --partial the text so far, too, whenever it grew. Needs the C API of sherpa-onnx (2.0 or later);
// README.md says where to get it and how to build this.

#include <sherpa-onnx/c-api/c-api.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string &why) {
  std::cerr << why << '\n';
  std::exit(1);
}

// The layout of the graph, which bundle.json names.
std::string profile(const std::string &bundle) {
  std::ifstream file(bundle + "/bundle.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::smatch found;
  if (!std::regex_search(text, found, std::regex(R"re("profile"\s*:\s*"([^"]*)")re"))) {
    fail(bundle + " is not a bundle: no profile in bundle.json; kdcompress export writes bundles");
  }
  return found[1];
}

// In a JSON string.
std::string quoted(const std::string &text) {
  std::ostringstream result;
  result << '"';
  for (const unsigned char letter : text) {
    if (letter == '"' || letter == '\\') {
      result << '\\' << letter;
    } else if (letter < ' ') {
      result << "\\u00" << (letter < 16 ? '0' : '1') << "0123456789abcdef"[letter % 16];
    } else {
      result << letter;
    }
  }
  return result.str() + '"';
}

std::string single_spaced(const std::string &text) {
  std::istringstream words(text);
  std::string word, result;
  while (words >> word) result += (result.empty() ? "" : " ") + word;
  return result;
}

using Wave = std::unique_ptr<const SherpaOnnxWave, decltype(&SherpaOnnxFreeWave)>;

Wave read(const std::string &file) {
  Wave wave(SherpaOnnxReadWave(file.c_str()), SherpaOnnxFreeWave);
  if (!wave) fail(file + " is no WAV file of 16 bits, mono");
  return wave;
}

void print(const std::string &file, const std::string &text) {
  std::cout << "{\"audio_filepath\": " << quoted(file) << ", \"text\": " << quoted(text) << "}" << std::endl;
}

void stream(const std::string &model, const std::string &tokens, const std::vector<std::string> &files, bool partial) {
  SherpaOnnxOnlineRecognizerConfig config{};
  config.feat_config.sample_rate = 16000;
  config.feat_config.feature_dim = 80;
  config.decoding_method = "greedy_search";
  config.model_config.tokens = tokens.c_str();
  config.model_config.num_threads = 1;
  config.model_config.provider = "cpu";
  config.model_config.nemo_ctc.model = model.c_str();
  const std::unique_ptr<const SherpaOnnxOnlineRecognizer, decltype(&SherpaOnnxDestroyOnlineRecognizer)> recognizer(
      SherpaOnnxCreateOnlineRecognizer(&config), SherpaOnnxDestroyOnlineRecognizer);
  if (!recognizer) fail(model + " cannot be loaded by sherpa-onnx");
  for (const std::string &file : files) {
    const Wave wave = read(file);
    const int32_t rate = wave->sample_rate;
    std::vector<float> samples(wave->samples, wave->samples + wave->num_samples);
    // sherpa-onnx centres its frames 5 ms later than NeMo, and runs whole chunks only: silence before and behind.
    samples.insert(samples.begin(), static_cast<std::size_t>(rate / 200), 0.0F);
    samples.resize(samples.size() + 2 * static_cast<std::size_t>(rate));
    const std::unique_ptr<const SherpaOnnxOnlineStream, decltype(&SherpaOnnxDestroyOnlineStream)> online(
        SherpaOnnxCreateOnlineStream(recognizer.get()), SherpaOnnxDestroyOnlineStream);
    std::string text;
    const std::size_t block = static_cast<std::size_t>(rate / 10);  // as a microphone would
    for (std::size_t first = 0; first < samples.size(); first += block) {
      const std::size_t here = std::min(block, samples.size() - first);
      SherpaOnnxOnlineStreamAcceptWaveform(online.get(), rate, &samples[first], static_cast<int32_t>(here));
      while (SherpaOnnxIsOnlineStreamReady(recognizer.get(), online.get())) {
        SherpaOnnxDecodeOnlineStream(recognizer.get(), online.get());
      }
      const std::unique_ptr<const SherpaOnnxOnlineRecognizerResult, decltype(&SherpaOnnxDestroyOnlineRecognizerResult)>
          result(SherpaOnnxGetOnlineStreamResult(recognizer.get(), online.get()),
                 SherpaOnnxDestroyOnlineRecognizerResult);
      const std::string so_far = single_spaced(result->text);
      if (partial && so_far != text) std::cout << "{\"partial\": " << quoted(so_far) << "}" << std::endl;
      text = so_far;
    }
    print(file, text);
  }
}

}  // namespace

int main(int count, char **arguments) {
  std::string bundle, graph = "model.onnx";
  bool partial = false;
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--precision" && i + 1 < count) {
      graph = std::string("model.") + arguments[++i] + ".onnx";
    } else if (argument == "--partial") {
      partial = true;
    } else if (bundle.empty()) {
      bundle = argument;
    } else {
      files.push_back(argument);
    }
  }
  if (files.empty()) fail("usage: transcribe BUNDLE [--precision int8] [--partial] FILE…");

  const std::string layout = profile(bundle), model = bundle + '/' + graph, tokens = bundle + "/tokens.txt";
  // sherpa-onnx ends the process on a file that is not there, and says little.
  if (!std::ifstream(model)) fail(model + " cannot be read");
  if (layout == "streaming") {
    stream(model, tokens, files, partial);
    return 0;
  }
  SherpaOnnxOfflineRecognizerConfig config{};
  config.feat_config.sample_rate = 16000;
  config.feat_config.feature_dim = 80;
  config.decoding_method = "greedy_search";
  config.model_config.tokens = tokens.c_str();
  config.model_config.num_threads = 1;
  config.model_config.provider = "cpu";
  if (layout == "portable") {
    config.model_config.nemo_ctc.model = model.c_str();
  } else if (layout == "waveform") {
    config.model_config.omnilingual.model = model.c_str();
  } else if (layout == "kaldi") {
    config.model_config.zipformer_ctc.model = model.c_str();
  } else {
    fail(bundle + " has the profile " + layout + ", expected portable, waveform, kaldi or streaming");
  }
  const std::unique_ptr<const SherpaOnnxOfflineRecognizer, decltype(&SherpaOnnxDestroyOfflineRecognizer)> recognizer(
      SherpaOnnxCreateOfflineRecognizer(&config), SherpaOnnxDestroyOfflineRecognizer);
  if (!recognizer) fail(model + " cannot be loaded by sherpa-onnx");

  for (const std::string &file : files) {
    const Wave wave = read(file);
    std::vector<float> samples(wave->samples, wave->samples + wave->num_samples);
    if (layout == "portable") {
      // sherpa-onnx centres its frames 5 ms later than NeMo: so much silence puts them where they belong. It
      // counts a begun hop as a frame, which NeMo does not: up to 10 ms off the end make the same number.
      const std::size_t hop = wave->sample_rate / 100, whole = samples.size() / hop * hop;
      samples.resize(whole ? whole - 1 : 0);
      samples.insert(samples.begin(), hop / 2, 0.0F);
    }
    const std::unique_ptr<const SherpaOnnxOfflineStream, decltype(&SherpaOnnxDestroyOfflineStream)> stream(
        SherpaOnnxCreateOfflineStream(recognizer.get()), SherpaOnnxDestroyOfflineStream);
    SherpaOnnxAcceptWaveformOffline(stream.get(), wave->sample_rate, samples.data(),
                                    static_cast<int32_t>(samples.size()));
    SherpaOnnxDecodeOfflineStream(recognizer.get(), stream.get());
    const std::unique_ptr<const SherpaOnnxOfflineRecognizerResult, decltype(&SherpaOnnxDestroyOfflineRecognizerResult)>
        result(SherpaOnnxGetOfflineStreamResult(stream.get()), SherpaOnnxDestroyOfflineRecognizerResult);
    print(file, single_spaced(result->text));
  }
}
