// Early return on a failed absl::Status. The only macros of the project.
#pragma once

#define NESTOR_MACRO_CONCAT_INNER(a, b) a##b
#define NESTOR_MACRO_CONCAT(a, b) NESTOR_MACRO_CONCAT_INNER(a, b)

// Evaluates `expression` (absl::Status) and returns it from the function unless OK.
#define RETURN_IF_ERROR(expression)                                                   \
  do {                                                                                \
    if (auto nestor_status = (expression); !nestor_status.ok()) return nestor_status; \
  } while (false)

// Evaluates `expression` (absl::StatusOr<T>), returns its status unless OK, else assigns.
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_INNER(NESTOR_MACRO_CONCAT(nestor_or_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                   \
  if (!temporary.ok()) return std::move(temporary).status();       \
  declaration = *std::move(temporary)
