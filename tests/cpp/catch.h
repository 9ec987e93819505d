#pragma once

// Catch2 3 or 2, whichever is installed, under one set of names.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
using Catch::Approx;
template <typename T>
using MatcherBase = Catch::Matchers::MatcherBase<T>;
#else
#include <catch2/catch.hpp>
using Catch::Detail::Approx;
template <typename T>
using MatcherBase = Catch::MatcherBase<T>;
#endif

#include <torch/torch.h>

// torch has a CHECK of its own, which ends the process: tests mean that of Catch2.
#undef CHECK
#define CHECK(...) INTERNAL_CATCH_TEST("CHECK", Catch::ResultDisposition::ContinueOnFailure, __VA_ARGS__)

#include <sstream>
#include <string>
#include <vector>

#if __has_include(<catch2/catch_test_macros.hpp>)
using Catch::Matchers::ContainsSubstring;
#else
inline auto ContainsSubstring(const std::string& text) { return Catch::Matchers::Contains(text); }
#endif
using Catch::Matchers::EndsWith;
using Catch::Matchers::Equals;
using Catch::Matchers::StartsWith;
using Catch::Matchers::WithinAbs;

/// Matches a tensor of the same shape and type whose values differ from `expected` by at most
/// `absolute + relative * |expected|`; NaN matches NaN.
class IsNear : public MatcherBase<torch::Tensor> {
 public:
  explicit IsNear(torch::Tensor expected, double absolute = 1e-6, double relative = 0)
      : expected_(std::move(expected)), absolute_(absolute), relative_(relative) {}

  bool match(const torch::Tensor& given) const override {
    return given.defined() && given.scalar_type() == expected_.scalar_type() && given.sizes() == expected_.sizes() &&
           torch::allclose(given, expected_, relative_, absolute_, /*equal_nan=*/true);
  }

  std::string describe() const override {
    std::ostringstream text;
    text << "is within " << absolute_ << " + " << relative_ << " * |x| of\n" << expected_;
    return text.str();
  }

 private:
  torch::Tensor expected_;
  double absolute_;
  double relative_;
};

inline torch::Tensor numbers(const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64); }

inline torch::Tensor random_doubles(torch::IntArrayRef shape) { return torch::randn(shape, torch::kFloat64); }
