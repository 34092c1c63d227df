// Programs that a test starts: their lines as they come, signals, and their end.

public import Foundation

/// A running program whose output can be awaited line by line, so that no test needs to sleep.
///
/// It is ended with SIGKILL when the last reference goes, so that a failing test leaves nothing behind.
public final class ChildProcess: Sendable {
    /// How a program ended.
    public enum Exit: Sendable, Hashable {
        case code(Int32)
        case signal(Int32)
    }

    /// One line of output, without its line feed. Bytes that are not UTF-8 are replaced.
    public struct Line: Sendable, Hashable {
        public enum Source: Sendable, Hashable { case output, error }
        public var source: Source
        public var text: String
    }

    /// The output ended without the line that was awaited, or a program that should have succeeded failed.
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    private let process: Process
    private let log: LineLog
    private let ended: Occurrence<Exit>

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - executable: what to run; see ``product(_:)`` for a program of this package.
    ///   - environment: added to the environment of the tests.
    ///   - folder: where to run it; the tests' own current folder when absent.
    public init(
        _ executable: URL, _ arguments: [String] = [], environment: [String: String] = [:], in folder: URL? = nil
    ) throws {
        let (log, ended) = (LineLog(sources: 2), Occurrence<Exit>())
        let (output, error) = (Pipe(), Pipe())
        process = Process()
        process.executableURL = executable
        process.arguments = arguments
        // These two are how `deploy/test` gets the tests' own output line by line; programs are tried as they are.
        process.environment = ProcessInfo.processInfo.environment
            .filter { !["LD_PRELOAD", "_STDBUF_O"].contains($0.key) }
            .merging(environment) { $1 }
        process.currentDirectoryURL = folder
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = error
        process.terminationHandler = { process in
            let status = process.terminationStatus
            ended.happen(process.terminationReason == .exit ? .code(status) : .signal(status))
        }
        self.log = log
        self.ended = ended
        try withAllSignalsUnblocked { try process.run() }
        Self.read(output.fileHandleForReading, as: .output, into: log)
        Self.read(error.fileHandleForReading, as: .error, into: log)
    }

    deinit {
        // Only while it runs: its pid may be somebody else's afterwards.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    /// The program of this package with that name, which the build puts beside the tests.
    public static func product(_ name: String) throws -> URL {
        guard let folder = Bundle.main.executableURL?.deletingLastPathComponent() else {
            throw Failure(description: "the folder of the tests is not known")
        }
        let program = folder.appendingPathComponent(name)
        guard FileManager.default.isExecutableFile(atPath: program.path) else {
            throw Failure(description: "there is no program \(program.path); run `swift build` first")
        }
        return program
    }

    /// Runs a program to its end and returns its output, or throws with all that it said when its code is not 0.
    @discardableResult
    public static func run(
        _ executable: URL, _ arguments: [String] = [], environment: [String: String] = [:], in folder: URL? = nil
    ) async throws -> String {
        let child = try ChildProcess(executable, arguments, environment: environment, in: folder)
        var output: [String] = []
        for await line in child.lines() where line.source == .output { output.append(line.text) }
        let exit = await child.exit()
        guard exit == .code(0) else {
            throw Failure(
                description: "\(executable.lastPathComponent) \(arguments.joined(separator: " ")) ended with \(exit):\n"
                    + child.transcript)
        }
        return output.joined(separator: "\n")
    }

    public var processID: Int32 { process.processIdentifier }

    /// Everything said so far, both sources in the order in which they were read.
    public var transcript: String { log.soFar.map(\.text).joined(separator: "\n") }

    /// Every line from the first on, then those to come, until both output and error output have ended. Each call has a
    /// stream of its own.
    public func lines() -> AsyncStream<Line> { log.stream() }

    /// Awaits the first line, from the program's start on, for which `matches` is true.
    ///
    /// - Throws: ``Failure`` with the transcript when the output ends without one.
    @discardableResult
    public func line(where matches: (String) -> Bool) async throws -> String {
        for await line in lines() where matches(line.text) { return line.text }
        try Task.checkCancellation()
        throw Failure(description: "\(name) ended its output without the line that was awaited:\n\(transcript)")
    }

    /// Awaits the first line, from the program's start on, that contains `text`.
    @discardableResult
    public func line(containing text: String) async throws -> String {
        try await line { $0.contains(text) }
    }

    /// Sends a signal, unless the program has ended.
    public func send(_ signal: Int32) {
        if process.isRunning { kill(process.processIdentifier, signal) }
    }

    public var isRunning: Bool { process.isRunning }

    /// Awaits the program's end.
    public func exit() async -> Exit { await ended.value }

    private var name: String { process.executableURL?.lastPathComponent ?? "the program" }

    /// A thread of its own per pipe: reading blocks, and must not hold up the tests' executor.
    private static func read(_ handle: FileHandle, as source: Line.Source, into log: LineLog) {
        Thread.detachNewThread {
            var rest = Data()
            while true {
                let data = handle.availableData
                guard !data.isEmpty else { break }
                rest.append(data)
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    log.append(Line(source: source, text: String(decoding: rest[..<end], as: UTF8.self)))
                    rest = Data(rest[rest.index(after: end)...])
                }
            }
            if !rest.isEmpty { log.append(Line(source: source, text: String(decoding: rest, as: UTF8.self))) }
            log.sourceEnded()
        }
    }
}

/// Threads of the tests' executor block nearly every signal, `Process` leaves it so, and a program inherits it: without
/// this it would never notice a SIGTERM.
private func withAllSignalsUnblocked(_ body: () throws -> Void) rethrows {
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
}

/// The lines of a program, kept and passed on to everyone who listens.
///
/// Unchecked, since the lock guards all of its state; `Mutex` would need no such word, but gives ThreadSanitizer false
/// alarms.
private final class LineLog: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [ChildProcess.Line] = []
    private var listeners: [AsyncStream<ChildProcess.Line>.Continuation] = []
    private var openSources: Int

    init(sources: Int) {
        openSources = sources
    }

    var soFar: [ChildProcess.Line] { lock.withLock { lines } }

    func append(_ line: ChildProcess.Line) {
        lock.withLock {
            lines.append(line)
            for listener in listeners { listener.yield(line) }
        }
    }

    func sourceEnded() {
        lock.withLock {
            openSources -= 1
            guard openSources == 0 else { return }
            for listener in listeners { listener.finish() }
            listeners = []
        }
    }

    func stream() -> AsyncStream<ChildProcess.Line> {
        let (stream, continuation) = AsyncStream.makeStream(of: ChildProcess.Line.self)
        lock.withLock {
            for line in lines { continuation.yield(line) }
            if openSources == 0 { continuation.finish() } else { listeners.append(continuation) }
        }
        return stream
    }
}

/// Something that happens once and can be awaited before and after. Unchecked for the same reason as ``LineLog``.
private final class Occurrence<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var happened: Value?
    private var waiters: [CheckedContinuation<Value, Never>] = []

    func happen(_ value: Value) {
        let waiting = lock.withLock {
            happened = value
            defer { waiters = [] }
            return waiters
        }
        for waiter in waiting { waiter.resume(returning: value) }
    }

    var value: Value {
        get async {
            await withCheckedContinuation { waiter in
                let value = lock.withLock {
                    if happened == nil { waiters.append(waiter) }
                    return happened
                }
                if let value { waiter.resume(returning: value) }
            }
        }
    }
}
