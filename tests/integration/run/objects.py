# objects.py - large objects, many small ones, forks and other programs: prints what must not depend on memory
import hashlib, os, signal, subprocess, threading

MIB = 1 << 20
data = bytearray(40 * MIB)
for i in range(0, len(data), 4096):
    data[i:i + 8] = (i * 2654435761 % (1 << 64)).to_bytes(8, "little")


def digest(view):
    return hashlib.sha256(view).hexdigest()


before = digest(data)
print("filled", before)

# A child reads what was there at the fork, while its parent changes it.
gate, go = os.pipe()
child = os.fork()
if child == 0:
    os.read(gate, 1)
    os._exit(0 if digest(data) == before else 3)
for i in range(0, len(data), 8192):
    data[i] ^= 0xFF
os.write(go, b"x")
print("child", os.waitpid(child, 0)[1])
print("changed", digest(data))

# A large object through a pipe to another program and back; arguments and environment from the heap.
result = subprocess.run(["sha256sum"], input=bytes(data), capture_output=True, check=True)
print("piped", result.stdout.decode().split()[0] == digest(data))
back = subprocess.run(["cat"], input=bytes(data[:8 * MIB]), capture_output=True, check=True).stdout
print("returned", digest(back) == digest(data[:8 * MIB]))
environment = dict(os.environ, LONG="y" * 100000)
print(subprocess.run(["sh", "-c", "echo ${#LONG} $1", "sh", "z" * 1000], env=environment,
                     capture_output=True, check=True).stdout.decode().split())
print("system", os.system("exit 3") >> 8)

# Threads that block all signals.
digests = [None] * 4


def work(index):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    digests[index] = digest(data[index * 8 * MIB:(index + 1) * 8 * MIB])


threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("threads", digests == [digest(data[i * 8 * MIB:(i + 1) * 8 * MIB]) for i in range(4)])

# Small objects by the hundred thousand, and a file in between.
table = {number: str(number) * 3 for number in range(200000)}
with open("objects.tmp", "wb") as file:
    file.write(data)
with open("objects.tmp", "rb") as file:
    print("file", digest(file.read()) == digest(data))
os.unlink("objects.tmp")
print("small", sum(map(len, table.values())), sorted(table.values())[100000])
