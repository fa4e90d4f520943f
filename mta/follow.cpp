#include "mta/follow.h"

#include <string>

#include <sysexits.h>

#include "mta/output.h"

namespace waypost::mta {

int follow(Follow what, const std::function<void(const Json&)>& write, const std::function<void()>& sleep,
           Console& console) {
  for (;;) {
    const bool last = what.until && console.now() >= *what.until;
    what.request.query["from"] = std::to_string(what.from);
    const std::optional<Json> answer = console.fetch(what.request);
    if (!answer) return console.exit_code;
    if (const std::uint64_t missed = number_of(*answer, "missed"); missed > 0)
      console.err << "waypost: " << counted(missed, "line", "lines") << ", wanted or not, went by unseen\n";
    for (const Json& line : list_of(*answer, "lines")) write(line);
    console.out.flush();
    if (!console.out) return EX_IOERR;
    what.from = number_of(*answer, "next");
    if (last) return 0;
    if ((*answer)["more"] != true) sleep();
  }
}

}  // namespace waypost::mta
