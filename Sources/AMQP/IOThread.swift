// Threads for a blocking library, and what wakes them.
import CRabbitMQ
import Glibc
import Synchronization

/// Threads that may block, outside Swift's cooperative pool.
enum IOThread {
    /// librabbitmq decodes nested header tables by recursion, a level for each 5 bytes of a hostile frame: the largest that is
    /// taken (see ``Connection/takeLargerFrames()``) needs 20 MiB. Of a stack, only what was used takes memory.
    private static let stackBytes = 64 << 20

    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Runs `body` on a new detached thread; false when the system has no thread to give.
    static func start(name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))

        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                _ = crabbitmq_name_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        if status != 0 { start.release() }
        return status == 0
    }
}

/// Wakes one thread that polls; signals made while one is pending cost no system call.
final class Wake: Sendable {
    let descriptor: Int32
    private let isSignalled = Atomic(false)

    /// - Throws: ``AMQPError/library(code:text:)`` when the process has no descriptor left.
    init() throws(AMQPError) {
        descriptor = crabbitmq_eventfd()
        if descriptor < 0 { throw .library(code: errno, text: "no eventfd: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    func signal() {
        if !isSignalled.exchange(true, ordering: .sequentiallyConsistent) { _ = crabbitmq_eventfd_signal(descriptor) }
    }

    /// Sleeps until signalled, until the socket is readable, or until the time is over.
    /// - Returns: whether the socket has something to read (or to tell: end of stream, error).
    func wait(socket: Int32 = -1, atMost timeout: Duration) -> Bool {
        // `poll` ignores negative descriptors.
        var descriptors = (
            pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        )
        withUnsafeMutableBytes(of: &descriptors) { bytes in
            _ = poll(bytes.bindMemory(to: pollfd.self).baseAddress, 2, timeout.pollMilliseconds)
        }
        if descriptors.1.revents != 0 {
            // In this order: whoever finds the flag still set has left its work before this thread looks for it.
            _ = crabbitmq_eventfd_clear(descriptor)
            isSignalled.store(false, ordering: .sequentiallyConsistent)
        }
        return descriptors.0.revents != 0
    }
}

extension Duration {
    /// Rounded up, so that a poll never spins on a remainder below a millisecond.
    var pollMilliseconds: Int32 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        if seconds > 86_400 { return 86_400_000 }
        return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }

    var timeInterval: timeval {
        let (seconds, attoseconds) = components
        return timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
    }
}
