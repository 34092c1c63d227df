// A store that fails is said once and then once a minute, not for each command and attempt.

import Logging
import RoutingContract

extension DeliveryPipeline {
    /// - Parameter what: what could not be done for the command, which is tried again.
    func storeFailed(_ what: String, _ command: RouteCommand, _ error: some Error) {
        var metadata = command.metadata(error)
        var level = Logger.Level.error
        switch storeOutage.failed("\(what): \(error)", now: .now) {
        case .news: break
        case .reminder(let away): metadata[LogKey.awaySeconds] = "\(away.components.seconds)"
        case .repetition: level = .debug
        }
        logger.log(level: level, "\(what); commands wait until the store works", metadata: metadata)
    }

    func storeWorked() {
        guard let away = storeOutage.worked(now: .now) else { return }
        logger.info("the store works again", metadata: [LogKey.awaySeconds: "\(away.components.seconds)"])
    }
}
