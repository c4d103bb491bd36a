/* Aligned working memory that grows and is kept. */
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nr {
/* Uninitialised array of plain values; big ones ask for huge pages, since they are read at random. */
template <class T> class Buffer {
public:
  Buffer() = default;
  explicit Buffer(size_t n) { reserve(n); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  Buffer(Buffer &&other) noexcept { *this = std::move(other); }
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  /* At least n values; the old ones are lost when it grows. */
  T *reserve(size_t n) {
    if (n <= size_) return data_;
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
    size_t bytes = n * sizeof(T), unit = bytes >= (2u << 20) ? (2u << 20) : 64;
    bytes = (bytes + unit - 1) / unit * unit;
    data_ = (T *)std::aligned_alloc(unit, bytes);
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    if (unit > 64) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    size_ = n;
    return data_;
  }
  T *zeroed(size_t n) {
    reserve(n);
    std::memset((void *)data_, 0, n * sizeof(T));
    return data_;
  }
  T *data() { return data_; }
  const T *data() const { return data_; }
  T &operator[](size_t i) { return data_[i]; }
  const T &operator[](size_t i) const { return data_[i]; }
  size_t size() const { return size_; }

private:
  T *data_ = nullptr;
  size_t size_ = 0;
};
} // namespace nr
