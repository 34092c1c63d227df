// Programs that are measured: started, watched and ended.

import Foundation

/// A running program. It is ended with SIGKILL when the last reference goes.
final class Child: Sendable {
    let name: String
    private let process: Process
    private let ended: AsyncStream<Void>
    private let logFile: String

    /// - Parameters:
    ///   - logFile: where its error output goes.
    ///   - onLine: takes the first line of its output, on a thread of its own.
    init(
        _ name: String, _ program: String, _ arguments: [String], environment: [String: String], logFile: String,
        onLine: (@Sendable (String) -> Void)? = nil
    ) throws {
        self.name = name
        self.logFile = logFile
        _ = FileManager.default.createFile(atPath: logFile, contents: nil)
        process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardError = FileHandle(forWritingAtPath: logFile)
        let output = Pipe()
        process.standardOutput = onLine == nil ? FileHandle.nullDevice : output
        let (ended, continuation) = AsyncStream.makeStream(of: Void.self)
        self.ended = ended
        process.terminationHandler = { _ in continuation.finish() }
        try withAllSignalsUnblocked { try process.run() }
        if let onLine {
            let handle = output.fileHandleForReading
            Thread.detachNewThread {
                let line = String(decoding: handle.availableData, as: UTF8.self).prefix { $0 != "\n" }
                onLine(String(line))
            }
        }
    }

    deinit {
        // Only while it runs: its pid may be somebody else's afterwards.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }

    /// How long a program may take to end before it counts as hung.
    private static let patience: Duration = .seconds(60)

    /// SIGTERM, and waits for its end.
    func stop() async throws {
        if process.isRunning { kill(pid, SIGTERM) }
        // Beside the wait, so that a program which hangs fails its run in place of holding up all that follow.
        let watch = Task {
            try await Task.sleep(for: Self.patience)
            if process.isRunning { kill(pid, SIGKILL) }
        }
        defer { watch.cancel() }
        for await _ in ended {}
        let byOurSignal = process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGTERM
        guard byOurSignal || process.terminationStatus == 0 else {
            throw BenchFailure("\(name) ended with \(process.terminationStatus):\n\(logTail)")
        }
    }

    /// The end of what it wrote to its error output.
    var logTail: String {
        let text = (try? String(contentsOfFile: logFile, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(12).joined(separator: "\n")
    }
}

/// Threads of Swift's pool block nearly every signal, and a program inherits it: without this it would never notice a
/// SIGTERM.
private func withAllSignalsUnblocked(_ body: () throws -> Void) rethrows {
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
}
