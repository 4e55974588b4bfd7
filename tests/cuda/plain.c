// What Interlock and a caller ask of libcudart and libcuda, over plain shared memory: two "GPUs", and handles that hold
// the name of an object in /dev/shm. It keeps CUDA's traps: a copy into a device arrives when the stream is waited for,
// an error stays the thread's last error until it is asked for, and handles are passed by value.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_HANDLE = 400, MOST = 64 };
typedef struct { unsigned char bytes[64]; } handle_t;
struct allocation { char *at; size_t size; char name[63]; };

static struct allocation allocations[MOST];
static __thread int last_error;
static __thread struct { void *to; void *from; size_t size; } pending;

static int told(int code) { if (code) last_error = code; return code; }

static struct allocation *around(const char *at) {
  for (int i = 0; i < MOST; i++)
    if (allocations[i].at && at >= allocations[i].at && at < allocations[i].at + allocations[i].size) return &allocations[i];
  return NULL;
}

static int map(const char *name, int flags, size_t size, void **made) {
  for (int i = 0; i < MOST; i++) {
    if (allocations[i].at) continue;
    int file = shm_open(name, O_RDWR | flags, 0600);
    if (file < 0) return told(INVALID_HANDLE);
    struct stat found;
    if (size && ftruncate(file, (off_t)size)) return told(INVALID_VALUE);
    fstat(file, &found);
    *made = mmap(NULL, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    allocations[i].at = *made;
    allocations[i].size = (size_t)found.st_size;
    snprintf(allocations[i].name, sizeof allocations[i].name, "%s", name);
    return SUCCESS;
  }
  return told(INVALID_VALUE);
}

static int unmap(void *at, int unlinking) {
  struct allocation *found = around(at);
  if (!found || found->at != at) return told(INVALID_VALUE);
  if (unlinking) shm_unlink(found->name);
  munmap(found->at, found->size);
  found->at = NULL;
  return SUCCESS;
}

int cudaSetDevice(int device) { return told(device == 0 || device == 1 ? SUCCESS : INVALID_DEVICE); }
int cudaGetLastError(void) { int code = last_error; last_error = SUCCESS; return code; }

const char *cudaGetErrorString(int code) {
  return code == INVALID_HANDLE ? "invalid resource handle" : code == INVALID_DEVICE ? "invalid device ordinal" : "invalid argument";
}

int cudaMalloc(void **made, size_t size) {
  static int count;
  char name[40];
  snprintf(name, sizeof name, "/interlock-gpu-%d-%d", getpid(), count++);
  return map(name, O_CREAT | O_EXCL, size, made);
}

int cudaFree(void *at) { return unmap(at, 1); }

int cudaIpcGetMemHandle(handle_t *handle, void *at) {
  struct allocation *found = around(at);
  if (!found) return told(INVALID_VALUE);
  // From the second byte on: a real handle, too, has zeros before its end.
  memset(handle, 0, sizeof *handle);
  memcpy(handle->bytes + 1, found->name, strlen(found->name));
  return SUCCESS;
}

int cudaIpcOpenMemHandle(void **made, handle_t handle, unsigned int flags) {
  return flags == 1 ? map((char *)handle.bytes + 1, 0, 0, made) : told(INVALID_VALUE);
}

int cudaIpcCloseMemHandle(void *at) { return unmap(at, 0); }

int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
  struct allocation *device = around(kind == 1 ? to : from);
  const char *at = kind == 1 ? to : from;
  if (!device || at + size > device->at + device->size) return told(INVALID_VALUE);
  if (kind == 2) { memcpy(to, from, size); return SUCCESS; }
  pending.to = to;
  pending.size = size;
  pending.from = memcpy(malloc(size), from, size);
  return SUCCESS;
}

int cudaStreamSynchronize(void *stream) {
  (void)stream;
  if (pending.from) memcpy(pending.to, pending.from, pending.size);
  free(pending.from);
  pending.from = NULL;
  return SUCCESS;
}

int cuMemGetAddressRange_v2(uint64_t *base, size_t *size, uint64_t at) {
  struct allocation *found = around((char *)at);
  if (!found) return INVALID_VALUE;
  if (base) *base = (uint64_t)found->at;
  if (size) *size = found->size;
  return SUCCESS;
}

// For the tests: how many allocations are mapped here, made or opened.
int mapped(void) {
  int count = 0;
  for (int i = 0; i < MOST; i++) count += allocations[i].at != NULL;
  return count;
}
