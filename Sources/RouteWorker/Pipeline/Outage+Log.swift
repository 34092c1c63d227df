// How an outage stands in the log.

import Logging

extension Logger {
    /// Says what failed once, then once a minute with how long it has lasted; in between only to whoever looks for faults.
    func log<Failure>(
        _ attempt: Outage<Failure>.Attempt, _ level: Logger.Level, _ message: Logger.Message, metadata: Logger.Metadata
    ) {
        switch attempt {
        case .news: log(level: level, message, metadata: metadata)
        case .reminder(let away):
            let duration: Logger.Metadata = [LogKey.awaySeconds: "\(away.components.seconds)"]
            log(level: level, message, metadata: metadata.merging(duration) { $1 })
        case .repetition: log(level: .debug, message, metadata: metadata)
        }
    }
}
